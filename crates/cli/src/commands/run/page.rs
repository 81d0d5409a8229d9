//! A page of the node, as its users see it.

use std::time::Duration;

use crate::error::{CliError, Kind, Result};

/// The most of a page that is printed, in bytes.
const LIMIT: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches a page.
pub(super) fn get(url: &str) -> Result<String> {
    let failed = |error: ureq::Error| CliError::new(Kind::NotFound, format!("{url}: {error}"));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .build()
        .into();
    let mut response = agent.get(url).call().map_err(failed)?;
    response
        .body_mut()
        .with_config()
        .limit(LIMIT)
        .lossy_utf8(true)
        .read_to_string()
        .map_err(failed)
}
