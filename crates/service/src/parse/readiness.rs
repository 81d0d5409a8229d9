//! How a service says that it is ready: keys of `[service]`.

use super::*;

/// The descriptors that a service may be given beside input, output and error; more than anybody has asked for.
const READY_FDS: std::ops::RangeInclusive<i64> = 3..=255;

/// `notify` and `ready_fd`.
pub(super) fn readiness(table: &Table<'_>, kind: Kind) -> (bool, Option<i32>) {
    let notify = table.boolean("notify").unwrap_or(false);
    let ready_fd = small(table, "ready_fd", READY_FDS);
    let asked = [("notify", notify), ("ready_fd", ready_fd.is_some())];
    for (key, _) in asked.iter().filter(|(_, asked)| *asked && kind == Kind::Oneshot) {
        table.complain(
            key,
            format!("a oneshot is ready when it has ended, so `{key}` has no meaning"),
        );
    }
    if notify && ready_fd.is_some() {
        table.complain(
            "ready_fd",
            "a service says that it is ready in one way: `notify` or `ready_fd`",
        );
    }
    (notify, ready_fd)
}
