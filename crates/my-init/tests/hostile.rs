//! What the fuzz targets of my_init do (`make fuzz`), with their seeds and with what is left of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "a module of the fuzzer"
)]

#[path = "../../../fuzz/src/init.rs"]
mod init;

#[test]
fn targets_take_their_seeds_and_pieces_of_them() {
    let seeds = init::seeds();
    assert!(seeds.len() > 5);
    for (target, seed) in seeds {
        let pieces = (0..seed.len()).step_by(37).map(|end| &seed[..end]);
        for bytes in pieces.chain([&seed[..]]) {
            match target {
                "control_request" => init::control_request(bytes),
                _ => init::service_file(bytes),
            }
        }
    }
}
