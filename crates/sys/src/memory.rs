//! How much memory a long-lived process keeps.

/// From this size on, what is freed goes back to the system at once, in bytes. Frames of flists are smaller: their
/// memory is used again, because fresh pages are dear (2,000 reads of a page each from another frame took 0.7 s of system
/// time with fresh memory, and take 0.15 s).
#[cfg(target_env = "gnu")]
const LARGE: i32 = 2 << 20;

/// Makes the allocator give large pieces back when they are freed, and share one heap between threads. Programs that
/// handle pieces of a megabyte for days would otherwise keep several times of what they use. Where the C library is not
/// glibc there is nothing to do: others do so anyway.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt(3) takes two numbers, and fails without harm when it does not like them.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }
}

/// Gives back to the system what was freed and is kept for later: for who has just done what it does rarely, such as reading
/// a thousand files.
pub fn trim() {
    // SAFETY: malloc_trim(3) takes a number and touches only what is free.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_works_afterwards() {
        super::give_back();
        let pieces: Vec<Vec<u8>> = (1..20).map(|size| vec![1; size << 14]).collect();
        assert_eq!(pieces.iter().map(Vec::len).sum::<usize>(), 190 << 14);
        super::trim();
        assert!(pieces.iter().flatten().all(|byte| *byte == 1));
    }
}
