//! How long it takes to read an index as large as Alpine's and to find the packages of a world in it:
//! `cargo run --release -p mos-alpine --example speed [PACKAGES] [LINES]`. The packages are made up, with as many needs and
//! provided names as real ones have; the same numbers give the same packages.

use std::fmt::Write as _;
use std::time::Instant;

use mos_alpine::{Candidate, index, parse_world, solve};

/// Numbers that look random (xorshift64, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap_or_default()
    }
}

fn block(place: usize, numbers: &mut Numbers) -> String {
    let mut needs = "so:libc.musl-x86_64.so.1".to_owned();
    for _ in 0..numbers.below(7) {
        // What most packages need is a few thousand libraries and programs.
        let other = numbers.below(place.clamp(1, 4000));
        let name = [
            format!("package{other}"),
            format!("so:lib{other}.so.1"),
            format!("cmd:run{other}"),
        ];
        let _ = write!(needs, " {}", name[numbers.below(3)]);
    }
    if place % 3 == 1 {
        let _ = write!(needs, " virtual{}", place % 200);
    }
    let mut provides = format!("so:lib{place}.so.1=1 cmd:run{place}=1-r0 pc:p{place}=1");
    provides += if place == 0 { " so:libc.musl-x86_64.so.1=1" } else { "" };
    let mut more = String::new();
    if place < 600 {
        let _ = write!(provides, " virtual{}", place % 200);
        let _ = writeln!(more, "k:{}", place / 200 + 1);
    }
    if place % 10 == 9 {
        let _ = writeln!(more, "i:package{} docs", place - 1);
    }
    format!(
        "C:Q1{place:026}A=\nP:package{place}\nV:1.{}-r{}\nA:x86_64\nS:1000\nI:2000\nT:one of many, with a text as long as usual\n\
         U:https://example.org/package{place}\nL:MIT\no:package{}\nm:Somebody <somebody@example.org>\nt:1700000000\n\
         c:0123456789012345678901234567890123456789\n{more}D:{needs}\np:{provides}\n\n",
        numbers.below(9),
        numbers.below(5),
        place / 3
    )
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|word| word.parse().ok());
    let (count, lines) = (arguments.next().unwrap_or(28_000), arguments.next().unwrap_or(100));
    let mut numbers = Numbers(12_345);
    let text: String = (0..count).map(|place| block(place, &mut numbers)).collect();
    let start = Instant::now();
    let packages = index::parse(text.as_bytes()).unwrap_or_else(|problem| panic!("{problem}"));
    println!(
        "{count} packages, {} kB: read in {:?}",
        text.len() / 1000,
        start.elapsed()
    );
    let candidates: Vec<Candidate> = packages
        .into_iter()
        .map(|package| Candidate {
            repositories: vec![0],
            ..Candidate::new(package)
        })
        .collect();
    let names: Vec<String> = (1..=lines)
        .map(|line| format!("package{}", count - line * (count / (lines + 1))))
        .collect();
    let world = parse_world(&names).unwrap_or_else(|problem| panic!("{problem}"));
    let start = Instant::now();
    let found =
        solve(&candidates, &[None], &world).map_or_else(|problems| panic!("{problems:?}"), |chosen| chosen.len());
    println!("{lines} lines: {found} packages found in {:?}", start.elapsed());
}
