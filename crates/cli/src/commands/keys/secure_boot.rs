//! The keys of Secure Boot: `mos keys new --secure-boot`.

use std::fs;
use std::path::Path;

use mos_boot::secure_boot::{self, Guid, Identity, Time, Variable};

use crate::commands::image::trust;
use crate::context::{Context, now};
use crate::error::{CliError, Kind, Result, io};

/// Where they are, in the config repository.
pub(crate) const FOLDER: &str = "keys/secure-boot";

/// Keeps the secret halves out of version control, whatever the repository's own list says.
const IGNORE: &str = "*.key\n";

/// The key of policies for PCR 11.
const POLICY: &str = "pcr";

/// Makes PK, KEK and db, each as NAME.key (secret), NAME.crt (PEM), NAME.cer (DER), NAME.esl and NAME.auth, and the key
/// of policies for the TPM: pcr.key, pcr.crt and pcr.pub (PEM).
pub(super) fn make(context: &Context) -> Result<()> {
    let project = context.project()?;
    let folder = context.config()?.join(FOLDER);
    if let Some(there) = Variable::ALL
        .map(Variable::name)
        .into_iter()
        .chain([POLICY])
        .map(|name| folder.join(format!("{name}.key")))
        .find(|path| path.exists())
    {
        return Err(
            CliError::new(Kind::Conflict, format!("{} is there already", there.display()))
                .with_hint("firmware that knows the old keys accepts no other: move them away only if none does"),
        );
    }
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    write(&folder.join(".gitignore"), IGNORE)?;
    let owner = Guid::of_project(&project);
    let time = time()?;
    let platform = generate(&folder, &project, Variable::PlatformKey.name())?;
    let exchange = generate(&folder, &project, Variable::KeyExchangeKeys.name())?;
    let database = generate(&folder, &project, Variable::Database.name())?;
    for (variable, identity, signer) in [
        (Variable::PlatformKey, &platform, &platform),
        (Variable::KeyExchangeKeys, &exchange, &platform),
        (Variable::Database, &database, &exchange),
    ] {
        let lists = secure_boot::signature_lists(owner, &[identity.certificate()]);
        let update = secure_boot::update(variable, &lists, time, signer).map_err(trust)?;
        let file = |suffix: &str| folder.join(format!("{}.{suffix}", variable.name()));
        write(&file("crt"), identity.certificate().pem())?;
        write(&file("cer"), identity.certificate().der())?;
        write(&file("esl"), &lists)?;
        write(&file("auth"), &update)?;
    }
    let policies = generate(&folder, &project, POLICY)?;
    let file = |suffix: &str| folder.join(format!("{POLICY}.{suffix}"));
    write(&file("crt"), policies.certificate().pem())?;
    write(&file("pub"), policies.certificate().public_key().pem())?;
    let shown = folder.display();
    context.ui.line(format!(
        "Wrote PK, KEK, db and pcr to {shown}; *.key are secret: keep them safe."
    ));
    context.ui.line(format!(
        "Signatures: `secure_boot = \"{FOLDER}/db\"` in [image] of an environment."
    ));
    context.ui.line(format!(
        "Policies: `pcr_policy = \"{FOLDER}/{POLICY}\"` there; a TPM opens to such an image what is sealed to {POLICY}.pub."
    ));
    context
        .ui
        .line("Enrolment: *.auth in loader/keys/auto for systemd-boot, *.cer or *.esl in a firmware's menu.");
    Ok(())
}

fn generate(folder: &Path, project: &str, name: &str) -> Result<Identity> {
    let (identity, key) = Identity::generate(&format!("{project} {name}")).map_err(trust)?;
    secure_boot::write_private(&folder.join(format!("{name}.key")), &key).map_err(trust)?;
    Ok(identity)
}

fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    mos_sys::durable::write(path, content.as_ref(), 0o644).map_err(io(path))
}

/// Firmware takes a later update only with a later time, so it is that of now.
fn time() -> Result<Time> {
    let now = now()?.to_zoned(jiff::tz::TimeZone::UTC);
    // Each field is small and positive by what it counts.
    let small = |field: i8| field.unsigned_abs();
    Ok(Time {
        year: now.year().unsigned_abs(),
        month: small(now.month()),
        day: small(now.day()),
        hour: small(now.hour()),
        minute: small(now.minute()),
        second: small(now.second()),
    })
}
