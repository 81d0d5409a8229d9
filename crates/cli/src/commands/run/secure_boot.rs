//! Secure Boot and the TPM of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use mos_boot::secure_boot::{self, Certificate, Enrolment, Guid, SecureBootError};
use mos_vm::tools;

use super::image::Image;
use super::vm_error;
use crate::commands::keys::secure_boot::FOLDER;
use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};

/// Writes the firmware's variables, with the keys of the config repository enrolled, into a directory; tells when the
/// firmware will refuse the image.
pub(super) fn variables(context: &Context, image: &Image, directory: &Path) -> Result<PathBuf> {
    let folder = context.config()?.join(FOLDER);
    let project = context.project()?;
    let read = |name: &str| Certificate::read(&folder.join(format!("{name}.crt"))).map_err(no_keys);
    let (platform, exchange, database) = (read("PK")?, read("KEK")?, read("db")?);
    if let Image::Efi(image) = image
        && !is_accepted(image, &database)?
    {
        context.ui.line(format!(
            "{} is not signed by `{}`: the firmware will refuse it. Set `secure_boot = \"{FOLDER}/db\"` in [image].",
            image.display(),
            database.name()
        ));
    }
    let template = tools::secure_firmware().map_err(vm_error)?.variables;
    let keys = Enrolment {
        owner: Guid::of_project(&project),
        platform: &platform,
        exchange: &exchange,
        database: &[&database],
    };
    let enrolled = secure_boot::enrol(&fs::read(&template).map_err(io(&template))?, &keys);
    let enrolled = enrolled.map_err(|error| CliError::problem(format!("{}: {error}", template.display())))?;
    let path = directory.join("variables");
    fs::write(&path, enrolled).map_err(io(&path))?;
    Ok(path)
}

fn is_accepted(image: &Path, database: &Certificate) -> Result<bool> {
    let bytes = fs::read(image).map_err(io(image))?;
    let signatures = secure_boot::signatures(&bytes).unwrap_or_default();
    Ok(signatures
        .iter()
        .any(|it| it.is_trusted(std::slice::from_ref(database))))
}

fn no_keys(error: SecureBootError) -> CliError {
    CliError::new(Kind::Trust, error.to_string()).with_hint("`mos keys new --secure-boot` makes the keys")
}

/// Where the machine's TPM keeps its state.
pub(super) fn tpm(folder: &Path, reset: bool) -> Result<PathBuf> {
    let state = folder.join("disks").join("tpm");
    if reset && state.exists() {
        fs::remove_dir_all(&state).map_err(io(&state))?;
    }
    fs::create_dir_all(&state).map_err(io(&state))?;
    Ok(state)
}
