//! Records of the kernel's log, as `/dev/kmsg` gives them (kernel documentation, ABI/testing/dev-kmsg).

use super::syslog::level;

/// The longest record, in bytes (`PRINTK_MESSAGE_MAX` and what stands before the message).
pub const RECORD_MAX: usize = 8 * 1024;

/// A record: its number, and the line that it becomes. `None` when it is none.
///
/// `6,339,5140900,-;text` with lines of `KEY=value` behind it becomes `info [    5.140900] text`.
pub fn line(record: &[u8]) -> Option<(u64, Vec<u8>)> {
    let semicolon = record.iter().position(|byte| *byte == b';')?;
    let mut fields = std::str::from_utf8(&record[..semicolon]).ok()?.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let number: u64 = fields.next()?.parse().ok()?;
    let time: u64 = fields.next()?.parse().ok()?;
    let text = record[semicolon + 1..]
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let (seconds, rest) = (time / 1_000_000, time % 1_000_000);
    let mut line = format!("{} [{seconds:5}.{rest:06}] ", level(priority)).into_bytes();
    line.extend(text.iter().map(|byte| {
        if byte.is_ascii_control() && *byte != b'\t' {
            b' '
        } else {
            *byte
        }
    }));
    line.push(b'\n');
    Some((number, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_becomes_a_line() {
        let record = b"6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n";
        assert_eq!(
            line(record),
            Some((339, b"info [    5.140900] NET: Registered\n".to_vec()))
        );
        // From user space: the facility stands above the level.
        let record = b"11,1,98765432109,-,caller=T1;a\\x0ab\n";
        assert_eq!(line(record), Some((1, b"err [98765.432109] a\\x0ab\n".to_vec())));
        for nonsense in [&b""[..], b";", b"1,2;x", b"a,b,c,d;x", b"1,2,3"] {
            assert_eq!(line(nonsense), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_line_or_none(record in proptest::collection::vec(any::<u8>(), 0..100)) {
            for record in [record.clone(), [b"3,4,5,-;".to_vec(), record].concat()] {
                if let Some((_, line)) = line(&record) {
                    prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
                }
            }
        }
    }
}
