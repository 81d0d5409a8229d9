//! How many files may be open: more for us than for our services.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What PID 1 may open: three descriptors per service for more services than a node will have.
const OPEN_FILES: u64 = 65_536;

/// Raises our own limit of open files, and returns the one that services get: the old one.
pub fn raise() -> Option<(u64, u64)> {
    let old = getrlimit(Resource::Nofile);
    let (soft, hard) = (old.current?, old.maximum?);
    let wished = |maximum: u64| Rlimit {
        current: Some(maximum),
        maximum: Some(maximum),
    };
    // Only root may raise the hard limit; everybody else goes as far as it lets them.
    let raised = setrlimit(Resource::Nofile, wished(OPEN_FILES.max(hard)));
    raised.or_else(|_| setrlimit(Resource::Nofile, wished(hard))).ok()?;
    Some((soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_limit_rises_and_the_old_one_is_kept_for_services() {
        let before = getrlimit(Resource::Nofile);
        let (soft, hard) = raise().expect("a limit");
        assert_eq!((Some(soft), Some(hard)), (before.current, before.maximum));
        assert!(getrlimit(Resource::Nofile).current >= before.maximum);
    }
}
