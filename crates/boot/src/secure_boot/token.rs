//! Keys that never leave a token (PKCS #11): `pkcs11-tool` of OpenSC asks the token to sign.

use std::path::PathBuf;
use std::process::Command;

use super::SecureBootError;
use super::key::run;

/// The program that talks to tokens.
const PKCS11_TOOL: &str = "pkcs11-tool";

/// The variable with the PIN, when the address names no file with it.
pub const PIN: &str = "MOS_PKCS11_PIN";

/// A private key in a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    module: PathBuf,
    token: Option<String>,
    object: Option<String>,
    /// As hexadecimal digits.
    id: Option<String>,
    pin_file: Option<PathBuf>,
}

impl Token {
    /// Reads `pkcs11:token=T;object=O?module-path=/M&pin-source=file:/F`. A PIN in the address is refused: command lines
    /// and configurations are read by too many.
    pub(super) fn parse(address: &str) -> Result<Self, SecureBootError> {
        let wrong = |reason: &str| SecureBootError::Token {
            address: address.split("?").next().unwrap_or_default().to_owned(),
            reason: reason.to_owned(),
        };
        let rest = address.strip_prefix("pkcs11:").unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parts = path.split(';').chain(query.split('&')).filter(|part| !part.is_empty());
        let mut module = None;
        let (mut token, mut object, mut id, mut pin_file) = (None, None, None, None);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let bytes = unescape(value).ok_or_else(|| wrong(&format!("{name} has a wrong %-escape")))?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            match name {
                "token" => token = Some(text),
                "object" => object = Some(text),
                "id" => id = Some(hex::encode(&bytes)),
                "type" if text == "private" => {}
                "module-path" => module = Some(PathBuf::from(text)),
                "pin-source" => pin_file = Some(PathBuf::from(text.strip_prefix("file:").unwrap_or(&text))),
                "pin-value" => return Err(wrong(&format!("a PIN does not belong here; use pin-source or {PIN}"))),
                _ => return Err(wrong(&format!("`{name}` is not known here"))),
            }
        }
        if object.is_none() && id.is_none() {
            return Err(wrong("it names neither object nor id"));
        }
        let module = module.ok_or_else(|| wrong("module-path=/…/lib….so is missing"))?;
        Ok(Self {
            module,
            token,
            object,
            id,
            pin_file,
        })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SecureBootError> {
        let directory = tempfile::tempdir()?;
        let (input, output) = (directory.path().join("message"), directory.path().join("signature"));
        std::fs::write(&input, message)?;
        let mut command = self.command()?;
        command
            .args(["--sign", "--mechanism", "SHA256-RSA-PKCS", "--input-file"])
            .arg(&input);
        command.arg("--output-file").arg(&output);
        run(PKCS11_TOOL, &mut command)?;
        Ok(std::fs::read(&output)?)
    }

    /// The PIN goes through the environment, which only the same user can read.
    fn command(&self) -> Result<Command, SecureBootError> {
        let mut command = Command::new(PKCS11_TOOL);
        command
            .arg("--module")
            .arg(&self.module)
            .args(["--login", "--pin", &format!("env:{PIN}")]);
        if let Some(file) = &self.pin_file {
            let pin = std::fs::read_to_string(file).map_err(SecureBootError::at(file))?;
            command.env(PIN, pin.trim_end_matches('\n'));
        } else if std::env::var_os(PIN).is_none() {
            let reason = format!("no PIN: set {PIN}, or name a file by pin-source");
            return Err(SecureBootError::Tool {
                program: PKCS11_TOOL,
                reason,
            });
        }
        let options = [
            ("--token-label", &self.token),
            ("--label", &self.object),
            ("--id", &self.id),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                command.arg(option).arg(value);
            }
        }
        Ok(command)
    }
}

/// Undoes %-escapes (RFC 3986, 2.1).
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_token_key_module_and_pin() {
        let text = "pkcs11:token=our%20token;object=db;id=%01%ab?module-path=/usr/lib/m.so&pin-source=file:/run/pin";
        let expected = Token {
            module: "/usr/lib/m.so".into(),
            token: Some("our token".to_owned()),
            object: Some("db".to_owned()),
            id: Some("01ab".to_owned()),
            pin_file: Some("/run/pin".into()),
        };
        assert_eq!(Token::parse(text).unwrap(), expected);
    }

    #[test]
    fn addresses_that_cannot_work_are_refused_and_no_pin_is_repeated() {
        for (wrong, why) in [
            ("pkcs11:token=a?module-path=/m", "neither object nor id"),
            ("pkcs11:object=a", "module-path"),
            ("pkcs11:object=a%2?module-path=/m", "%-escape"),
            ("pkcs11:object=a;slot=1?module-path=/m", "`slot` is not known"),
            ("pkcs11:object=a?module-path=/m&pin-value=4711", "pin-source"),
        ] {
            let error = Token::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("4711"), "{error}");
        }
    }
}
