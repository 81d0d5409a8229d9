//! A page of the node, as its users see it.

use std::time::Duration;

use crate::error::{CliError, Kind, Result};

/// The most of a page that is printed, in bytes.
const LIMIT: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches a page that must be there.
pub(super) fn get(url: &str) -> Result<String> {
    let failed = |why: String| CliError::new(Kind::NotFound, format!("{url}: {why}"));
    match fetch(url).map_err(failed)? {
        (status, page) if (200..300).contains(&status) => Ok(page),
        (status, _) => Err(failed(format!("http status: {status}"))),
    }
}

/// The status and text of a page, or why there is none.
pub(super) fn fetch(url: &str) -> std::result::Result<(u16, String), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    let page = response
        .body_mut()
        .with_config()
        .limit(LIMIT)
        .lossy_utf8(true)
        .read_to_string()
        .map_err(|error| error.to_string())?;
    Ok((response.status().as_u16(), page))
}
