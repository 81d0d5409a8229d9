//! Who we are to a registry: what `docker login` and `podman login` wrote down.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::OciError;

/// The user name with which credential helpers mark an identity token.
const TOKEN_USER: &str = "<token>";
/// Under which name Docker keeps the credentials of its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// How to prove who we are. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(pub(crate) Secret);

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Secret {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user name and password.
    Basic(String, String),
    /// A token that the token server exchanges for others.
    Identity(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Secret::Anonymous => "Anonymous",
            Secret::Basic(..) => "Basic(***)",
            Secret::Identity(_) => "Identity(***)",
        })
    }
}

/// The parts of `config.json` and `auth.json` that say who we are.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// What a credential helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What a file says about a registry.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Here(Credentials),
    /// Ask `docker-credential-NAME`, under the key.
    Helper(String, String),
}

impl Credentials {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// A user name and password.
    pub fn basic(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Secret::Basic(user.into(), password.into()))
    }

    /// What this user's `docker login` or `podman login` left for a registry: the first that has something of
    /// `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG/config.json` (or `~/.docker`), and podman's `auth.json`. Asks credential
    /// helpers where the file says so. Nothing found is anonymous.
    ///
    /// # Errors
    /// [`OciError::Credentials`] for a file or helper that is there but makes no sense.
    pub fn find(registry: &str) -> Result<Self, OciError> {
        for path in files(&|name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        }) {
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            let place = path.display().to_string();
            let failed = |reason: String| OciError::Credentials {
                place: place.clone(),
                registry: registry.to_owned(),
                reason,
            };
            match look_up(&text, registry).map_err(failed)? {
                Found::Nothing => {}
                Found::Here(credentials) => return Ok(credentials),
                Found::Helper(helper, key) => return ask(&helper, &key, registry),
            }
        }
        Ok(Self::anonymous())
    }
}

fn files(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let below = |name: &str, rest: &str| variable(name).map(|folder| folder.join(rest));
    let docker = below("DOCKER_CONFIG", "config.json").or_else(|| below("HOME", ".docker/config.json"));
    let podman = below("XDG_RUNTIME_DIR", "containers/auth.json");
    let kept =
        below("XDG_CONFIG_HOME", "containers/auth.json").or_else(|| below("HOME", ".config/containers/auth.json"));
    [variable("REGISTRY_AUTH_FILE"), docker, podman, kept]
        .into_iter()
        .flatten()
        .collect()
}

/// The names under which a registry may stand in a file.
fn keys(registry: &str) -> Vec<String> {
    let mut keys = vec![
        registry.to_owned(),
        format!("https://{registry}"),
        format!("https://{registry}/v1/"),
    ];
    if registry == "docker.io" {
        keys.push(DOCKER_HUB_KEY.to_owned());
    }
    keys
}

/// Pure. The text of errors is ours alone: serde's would repeat parts of the file.
fn look_up(text: &str, registry: &str) -> Result<Found, String> {
    let config: Config = serde_json::from_str(text).map_err(|error| {
        format!(
            "line {}, column {}: not the JSON that `docker login` writes",
            error.line(),
            error.column()
        )
    })?;
    let keys = keys(registry);
    for key in &keys {
        if let Some(helper) = config.cred_helpers.get(key) {
            return Ok(Found::Helper(helper.clone(), key.clone()));
        }
    }
    let Some((key, entry)) = keys.iter().find_map(|key| config.auths.get_key_value(key)) else {
        return Ok(Found::Nothing);
    };
    let secret = match (&entry.identitytoken, &entry.auth, config.creds_store) {
        (Some(token), ..) if !token.is_empty() => Secret::Identity(token.clone()),
        (_, Some(auth), _) if !auth.is_empty() => {
            basic(auth).ok_or_else(|| format!("`auth` of {key} is not base64 of USER:PASSWORD"))?
        }
        (.., Some(helper)) => return Ok(Found::Helper(helper, key.clone())),
        _ => return Ok(Found::Nothing),
    };
    Ok(Found::Here(Credentials(secret)))
}

fn basic(auth: &str) -> Option<Secret> {
    let text = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some(Secret::Basic(user.to_owned(), password.to_owned()))
}

/// Runs `docker-credential-NAME get`, which takes the key on its standard input and answers with JSON.
fn ask(helper: &str, key: &str, registry: &str) -> Result<Credentials, OciError> {
    let program = format!("docker-credential-{helper}");
    let failed = |reason: &str| OciError::Credentials {
        place: program.clone(),
        registry: registry.to_owned(),
        reason: reason.to_owned(),
    };
    if Path::new(&program).components().count() != 1 {
        return Err(failed("not the name of a credential helper"));
    }
    let pipes = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = pipes.map_err(|error| failed(&error.to_string()))?;
    // A helper that does not read its input still answers or fails, which is looked at below.
    let _ = child.stdin.take().map(|mut input| input.write_all(key.as_bytes()));
    let output = child.wait_with_output().map_err(|error| failed(&error.to_string()))?;
    if !output.status.success() {
        // What helpers say when they know nobody, since version 0.4 of their protocol.
        let unknown = String::from_utf8_lossy(&output.stdout).contains("credentials not found");
        return if unknown {
            Ok(Credentials::anonymous())
        } else {
            Err(failed("it failed"))
        };
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer is not what it should be"))?;
    Ok(Credentials(match answer.username.as_str() {
        TOKEN_USER => Secret::Identity(answer.secret),
        _ => Secret::Basic(answer.username, answer.secret),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(secret: Secret) -> Result<Found, String> {
        Ok(Found::Here(Credentials(secret)))
    }

    #[test]
    fn every_way_that_login_writes_it_down() {
        let text = r#"{
            "auths": {
                "h:5000": { "auth": "bWU6c2U6Y3JldA==" },
                "https://old.example.org/v1/": { "auth": "bWU6eA==" },
                "https://index.docker.io/v1/": { "auth": "", "identitytoken": "idt" },
                "stored": {}
            },
            "credHelpers": { "helped": "pass" },
            "credsStore": "secretservice",
            "HttpHeaders": { "other": "things" }
        }"#;
        let basic = |password: &str| here(Secret::Basic("me".into(), password.into()));
        let helper = |name: &str, key: &str| Ok(Found::Helper(name.into(), key.into()));
        assert_eq!(look_up(text, "h:5000"), basic("se:cret"));
        assert_eq!(look_up(text, "old.example.org"), basic("x"));
        assert_eq!(look_up(text, "docker.io"), here(Secret::Identity("idt".into())));
        assert_eq!(look_up(text, "stored"), helper("secretservice", "stored"));
        assert_eq!(look_up(text, "helped"), helper("pass", "helped"));
        assert_eq!(look_up(text, "h"), Ok(Found::Nothing));
        assert_eq!(look_up("{}", "h"), Ok(Found::Nothing));
    }

    #[test]
    fn errors_and_debug_output_hold_no_secret() {
        for text in [
            r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":{"h":{"auth":"secret!"}}}"#,
            r#"{"auths":"secret"}"#,
        ] {
            let error = look_up(text, "h").unwrap_err();
            assert!(!error.contains("secret") && !error.contains("c2Vj"), "{error}");
        }
        assert_eq!(format!("{:?}", Credentials::basic("me", "secret")), "Basic(***)");
    }

    #[test]
    fn files_are_looked_for_where_the_tools_put_them() {
        let set = |name: &str| {
            ["HOME", "REGISTRY_AUTH_FILE"]
                .contains(&name)
                .then(|| PathBuf::from(format!("/{name}")))
        };
        let found: Vec<_> = files(&set).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            found,
            [
                "/REGISTRY_AUTH_FILE",
                "/HOME/.docker/config.json",
                "/HOME/.config/containers/auth.json"
            ]
        );
    }

    #[test]
    fn helper_cannot_be_a_path() {
        assert!(matches!(
            ask("x/../../bin/sh", "h", "h"),
            Err(OciError::Credentials { .. })
        ));
    }
}
