//! What programs say to `/dev/log`: datagrams as in RFC 3164 (what libc's syslog(3) sends) or RFC 5424.

/// The longest message, in bytes (RFC 5424 section 6.1 asks for 2048 at least).
pub const MESSAGE_MAX: usize = 8 * 1024;
/// What a message without a priority has: user, notice (RFC 3164 section 4.3.3).
const STANDARD: u32 = 13;
/// `Nov 22 02:15:29 `.
const OLD_TIME: usize = 16;

/// The word for a priority's level (RFC 5424 section 6.2.1).
pub fn level(priority: u32) -> &'static str {
    WORDS[(priority % 8) as usize]
}

/// The words for levels, the most serious first.
const WORDS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
/// Something failed.
pub const ERROR: u32 = 3;
/// Something has happened.
pub const INFO: u32 = 6;
/// For whoever looks for a mistake.
pub const DEBUG: u32 = 7;

/// The level of a word or number.
///
/// # Errors
/// When it is none.
pub fn read_level(text: &str) -> Result<u32, String> {
    let number = WORDS
        .iter()
        .position(|word| *word == text)
        .and_then(|index| u32::try_from(index).ok());
    let number = number.or_else(|| match text {
        "error" => Some(ERROR),
        "warn" => Some(ERROR + 1),
        text => text.parse().ok().filter(|number| *number <= DEBUG),
    });
    number.ok_or_else(|| format!("`{text}` is no level; expected {}", WORDS.join(", ")))
}

/// The line that a message becomes: `err sshd[42]: no`. Times and host names are left out: we know both better.
pub fn line(message: &[u8]) -> Vec<u8> {
    let (priority, rest) = priority(message);
    let mut line = level(priority).as_bytes().to_vec();
    line.push(b' ');
    match rest.strip_prefix(b"1 ").and_then(structured) {
        Some(said) => line.extend(said),
        None => line.extend(without_old_time(rest)),
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | 0 | b' ')) {
        line.pop();
    }
    // One message is one line, whatever is in it: nobody can forge another one.
    let control = line
        .iter_mut()
        .filter(|byte| byte.is_ascii_control() && **byte != b'\t');
    control.for_each(|byte| *byte = b' ');
    line.push(b'\n');
    line
}

fn priority(message: &[u8]) -> (u32, &[u8]) {
    let parsed = || {
        let end = message.iter().take(5).position(|byte| *byte == b'>')?;
        let number: u32 = std::str::from_utf8(message.get(1..end)?).ok()?.parse().ok()?;
        (message[0] == b'<' && number <= 191).then_some((number, &message[end + 1..]))
    };
    parsed().unwrap_or((STANDARD, message))
}

/// RFC 5424, behind the version: `TIME HOST APP PROCESS ID DATA MESSAGE`.
fn structured(rest: &[u8]) -> Option<Vec<u8>> {
    let mut words = rest.splitn(6, |byte| *byte == b' ');
    let (_time, _host) = (words.next()?, words.next()?);
    let (app, process, _id, rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let mut said = app.to_vec();
    if process != b"-" {
        said.extend([b"[", process, b"]"].concat());
    }
    said.extend(b": ");
    let text = match rest.strip_prefix(b"-") {
        Some(text) => text,
        None => rest,
    };
    let text = text.strip_prefix(b" ").unwrap_or(text);
    said.extend(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text));
    Some(said)
}

fn without_old_time(rest: &[u8]) -> &[u8] {
    match rest.get(..OLD_TIME) {
        Some(time) if [time[3], time[6], time[9], time[12], time[15]] == *b"  :: " => &rest[OLD_TIME..],
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(message: &[u8]) -> String {
        String::from_utf8_lossy(&line(message)).into_owned()
    }

    #[test]
    fn both_forms_become_lines() {
        for (message, expected) in [
            (&b"<13>Nov 22 02:15:29 me: hello"[..], "notice me: hello\n"),
            (b"<83>Nov  2 02:15:29 sshd[42]: no\n\0", "err sshd[42]: no\n"),
            (b"<30>crond[7]: without a time", "info crond[7]: without a time\n"),
            (b"no priority", "notice no priority\n"),
            (b"<999>x", "notice <999>x\n"),
            (
                b"<165>1 2003-10-11T22:14:15.003Z host app 42 ID47 - \xef\xbb\xbfhello",
                "notice app[42]: hello\n",
            ),
            (
                b"<165>1 - - app - - [a@1 b=\"c\"] hello",
                "notice app: [a@1 b=\"c\"] hello\n",
            ),
            (b"<165>1 - -", "notice 1 - -\n"),
            (b"<0>a\nerr forged: b\x1b[2J", "emerg a err forged: b [2J\n"),
            (b"", "notice\n"),
        ] {
            assert_eq!(text(message), expected);
        }
    }

    #[test]
    fn levels_have_words_and_numbers() {
        assert_eq!(
            (read_level("err"), read_level("error"), read_level("3")),
            (Ok(3), Ok(3), Ok(3))
        );
        assert_eq!((read_level("warn"), read_level("debug")), (Ok(4), Ok(DEBUG)));
        assert!(read_level("8").is_err() && read_level("loud").is_err_and(|error| error.contains("emerg, ")));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_line(message in proptest::collection::vec(any::<u8>(), 0..100), number in 0..200_u32) {
            for message in [message.clone(), [format!("<{number}>1 ").into_bytes(), message].concat()] {
                let line = line(&message);
                prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            }
        }
    }
}
