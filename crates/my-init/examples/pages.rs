//! The manual page of `my_init` and its completions for shells, made from the same help text and the same table of verbs
//! that the program has: `cargo run -p my-init --example pages -- DIR` writes them below `DIR/share`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use my_init::options::{HELP, verbs};

/// Verbs that take the name of a service.
const NAMED: [&str; 10] = [
    "status", "why", "logs", "events", "start", "stop", "restart", "kill", "get", "remove",
];
/// The names of services, one per line.
const NAMES: &str = "my_init list 2>/dev/null | awk 'NR > 1 { print $1 }'";

/// A way to call it, or an option, and what it does.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    usage: String,
    text: String,
}

/// What the help text says: of calls, of options, and of exit codes.
#[derive(Debug, Default)]
struct Help {
    calls: Vec<Entry>,
    options: Vec<Entry>,
    codes: String,
}

impl Help {
    fn read(text: &str) -> Self {
        let mut help = Self::default();
        let mut options = false;
        for line in text.lines() {
            if let Some(codes) = line.strip_prefix("Exit codes: ") {
                help.codes = codes.to_owned();
            }
            let Some(body) = line.strip_prefix("  ") else { continue };
            let more = body.starts_with(' ');
            options = if more { options } else { body.starts_with('-') };
            let list = if options { &mut help.options } else { &mut help.calls };
            match list.last_mut().filter(|_| more) {
                Some(entry) => {
                    let text = format!("{} {}", entry.text, body.trim());
                    entry.text = text.trim().to_owned();
                }
                None => list.push(Entry::read(body)),
            }
        }
        help
    }

    /// Every long option, of calls too.
    fn flags(&self) -> BTreeSet<&str> {
        let usages = self
            .calls
            .iter()
            .chain(&self.options)
            .flat_map(|entry| [&entry.usage, &entry.text]);
        let words = usages.flat_map(|text| text.split(|one: char| !(one.is_ascii_alphanumeric() || one == '-')));
        words.filter(|word| word.len() > 2 && word.starts_with("--")).collect()
    }

    /// What the first call with a verb does.
    fn about(&self, verb: &str) -> &str {
        let call = self.calls.iter().find(|entry| entry.has(verb));
        call.map_or("", |entry| entry.text.as_str())
    }
}

impl Entry {
    /// Two blanks divide the call from what it does.
    fn read(body: &str) -> Self {
        let (usage, text) = match body.starts_with('-') {
            // An option with a long value has only one.
            true => body.split_at(body.len().min(18)),
            false => body.split_once("  ").unwrap_or((body, "")),
        };
        Self {
            usage: usage.trim().to_owned(),
            text: text.trim().to_owned(),
        }
    }

    fn has(&self, verb: &str) -> bool {
        let word = self.usage.split_whitespace().nth(1).unwrap_or_default();
        word.split('|').any(|one| one == verb)
    }
}

/// The manual page (man(7)).
fn page(help: &Help, version: &str) -> String {
    let mut page = format!(
        ".TH MY_INIT 1 \"\" \"my_init {version}\" \"User Commands\"\n.SH NAME\nmy_init \\- PID 1 and supervisor of a node\n\
         .SH SYNOPSIS\n.B my_init\n[\\fIOPTIONS\\fR] [\\fIVERB\\fR [\\fINAME\\fR]]\n.SH DESCRIPTION\n\
         As PID 1 it brings a machine up, supervises its services and takes it down. Elsewhere it supervises services, or\n\
         asks a my_init that runs.\n.SH VERBS\n"
    );
    help.calls.iter().for_each(|entry| page.push_str(&paragraph(entry)));
    page.push_str(".SH OPTIONS\n");
    help.options.iter().for_each(|entry| page.push_str(&paragraph(entry)));
    page.push_str(".SH EXIT STATUS\n");
    for code in help.codes.trim_end_matches('.').split(", ") {
        let (number, text) = code.split_once(' ').unwrap_or((code, ""));
        page.push_str(&format!(".TP\n.B {number}\n{}\n", escaped(text)));
    }
    page.push_str(
        ".SH FILES\n.TP\n.I /etc/my_init/services\nservices of a node\n.TP\n.I /etc/my_init/my_init.conf\nlog level and \
         stages of a node\n.TP\n.I /run/my_init.sock\nthe control socket: JSON-RPC 2.0\n.SH SEE ALSO\n.BR mos (1)\n",
    );
    page
}

fn paragraph(entry: &Entry) -> String {
    format!(".TP\n.B {}\n{}\n", escaped(&entry.usage), escaped(&entry.text))
}

/// Nothing in it is a request or an escape of roff.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

fn bash(help: &Help) -> String {
    let verbs: Vec<&str> = verbs().collect();
    let flags: Vec<&str> = help.flags().into_iter().collect();
    format!(
        "_my_init() {{\n    local word=\"${{COMP_WORDS[COMP_CWORD]}}\" before=\"${{COMP_WORDS[COMP_CWORD-1]}}\" verb=\"\" one\n    \
         for one in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n        case \"$one\" in -*) ;; *) verb=\"$one\"; break ;; esac\n    done\n    \
         case \"$before\" in --socket | --services | --state | --svg | --initrd | --syslog | add | check | kexec)\n        \
         COMPREPLY=($(compgen -f -- \"$word\")); return ;; esac\n    \
         if [[ \"$word\" == -* ]]; then\n        COMPREPLY=($(compgen -W \"{flags}\" -- \"$word\")); return\n    fi\n    \
         case \"$verb\" in\n        \"\") COMPREPLY=($(compgen -W \"{verbs}\" -- \"$word\")) ;;\n        \
         xinet) COMPREPLY=($(compgen -W \"list status register unregister\" -- \"$word\")) ;;\n        \
         {named}) COMPREPLY=($(compgen -W \"$({NAMES})\" -- \"$word\")) ;;\n    esac\n}}\ncomplete -F _my_init my_init\n",
        flags = flags.join(" "),
        verbs = verbs.join(" "),
        named = NAMED.join(" | "),
    )
}

fn zsh(help: &Help) -> String {
    let verbs = verbs().map(|verb| format!("'{verb}:{}'", quiet(help.about(verb)).replace(':', "\\:")));
    let flags: Vec<&str> = help.flags().into_iter().collect();
    format!(
        "#compdef my_init\nlocal -a verbs names\nverbs=({})\nif [[ $PREFIX == -* ]]; then\n    compadd -- {}\nelif (( CURRENT == 2 )); \
         then\n    _describe verb verbs\nelse\n    case $words[2] in\n        {}) names=(${{(f)\"$({NAMES})\"}}); compadd -a names ;;\n        \
         xinet) compadd list status register unregister ;;\n        *) _files ;;\n    esac\nfi\n",
        verbs.collect::<Vec<String>>().join(" "),
        flags.join(" "),
        NAMED.join("|"),
    )
}

fn fish(help: &Help) -> String {
    let mut script = String::new();
    for verb in verbs() {
        let about = quiet(help.about(verb));
        script.push_str(&format!(
            "complete -c my_init -n __fish_use_subcommand -f -a {verb} -d '{about}'\n"
        ));
    }
    for flag in help.flags() {
        script.push_str(&format!("complete -c my_init -l {}\n", flag.trim_start_matches('-')));
    }
    let named = NAMED.join(" ");
    let names = NAMES.replace('\'', "\"").replace('$', "\\$");
    script.push_str(&format!(
        "complete -c my_init -n '__fish_seen_subcommand_from {named}' -f -a '({names})'\n"
    ));
    script.push_str(
        "complete -c my_init -n '__fish_seen_subcommand_from xinet' -f -a 'list status register unregister'\n",
    );
    script
}

/// Without what ends a text in single quotes.
fn quiet(text: &str) -> String {
    text.replace('\'', "")
}

/// Every file, by its place below `share`.
fn files() -> [(&'static str, String); 4] {
    let help = Help::read(HELP);
    [
        ("man/man1/my_init.1", page(&help, env!("CARGO_PKG_VERSION"))),
        ("bash-completion/completions/my_init", bash(&help)),
        ("zsh/site-functions/_my_init", zsh(&help)),
        ("fish/vendor_completions.d/my_init.fish", fish(&help)),
    ]
}

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: pages DIR");
        return ExitCode::from(2);
    };
    for (name, text) in files() {
        let path = Path::new(&directory).join("share").join(name);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text));
        if let Err(error) = written {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn every_verb_and_option_is_explained() {
        let help = Help::read(HELP);
        for verb in verbs() {
            assert!(!help.about(verb).is_empty(), "the help text does not explain {verb}");
        }
        for entry in &help.options {
            assert!(
                !entry.text.is_empty() || entry.usage == "--help, --version",
                "{entry:?}"
            );
        }
        assert!(
            help.flags()
                .is_superset(&["--only", "--tree", "--json", "--listen"].into()),
            "{:?}",
            help.flags()
        );
        assert!(help.codes.starts_with("0 fine, 1 "), "{}", help.codes);
        assert!(NAMED.iter().all(|named| verbs().any(|verb| verb == *named)));
    }

    /// Runs a checker over a text, if the checker is there.
    fn accepts(program: &str, arguments: &[&str], text: &str) {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            println!("SKIPPED: {program} is not there");
            return;
        };
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(text.as_bytes())
            .expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{program}: {said}\n{text}");
    }

    #[test]
    fn shells_and_man_take_them() {
        let [man, bash, zsh, fish] = files().map(|(_, text)| text);
        accepts("man", &["--warnings", "-E", "UTF-8", "-l", "-Z", "-"], &man);
        accepts("bash", &["-n"], &bash);
        accepts("zsh", &["-n"], &zsh);
        accepts("fish", &["-n"], &fish);
        for verb in verbs() {
            assert!(
                man.contains(verb) && bash.contains(verb) && zsh.contains(verb) && fish.contains(verb),
                "{verb}"
            );
        }
    }

    #[test]
    fn bash_completes_verbs_and_options() {
        let [_, bash, ..] = files().map(|(_, text)| text);
        let script = "COMP_WORDS=(my_init st); COMP_CWORD=1; _my_init; echo \"${COMPREPLY[@]}\"; \
                      COMP_WORDS=(my_init stop --on); COMP_CWORD=2; _my_init; echo \"${COMPREPLY[@]}\"";
        let output = Command::new("bash").arg("-c").arg(format!("{bash}\n{script}")).output();
        let Ok(output) = output else {
            println!("SKIPPED: bash is not there");
            return;
        };
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "status start stop\n--once --only\n"
        );
    }
}
