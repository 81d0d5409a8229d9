//! The solver: cases that each show one rule, what is said when nothing fits, and all small universes against a solver
//! that tries every set.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::collections::BTreeSet;

use mos_alpine::{Candidate, Dependency, Package, index, solve};
use proptest::prelude::*;

/// A package from `name-version` and lines as in an index, with `; ` between: `a-1; D:b>1 !c; p:v`. `@tag` at the end
/// of the first word names its repository.
fn candidate(text: &str, tags: &[Option<String>]) -> Candidate {
    let mut lines = text.split("; ");
    let (full, tag) = match lines.next().unwrap().split_once('@') {
        Some((full, tag)) => (full, Some(tag.to_owned())),
        None => (text.split("; ").next().unwrap(), None),
    };
    let (name, version) = full.rsplit_once('-').unwrap();
    let rest: String = lines.map(|line| format!("{line}\n")).collect();
    let block = format!("P:{name}\nV:{version}\n{rest}");
    let mut candidate = Candidate::new(index::parse(block.as_bytes()).unwrap().pop().unwrap());
    candidate
        .repositories
        .push(tags.iter().position(|known| *known == tag).unwrap());
    candidate
}

fn world(text: &str) -> Vec<Dependency> {
    text.split_ascii_whitespace().map(|one| one.parse().unwrap()).collect()
}

fn try_solve(packages: &[&str], wanted: &str) -> Result<String, String> {
    let tags = [None, Some("edge".to_owned())];
    let candidates: Vec<Candidate> = packages.iter().map(|one| candidate(one, &tags)).collect();
    match solve(&candidates, &tags, &world(wanted)) {
        Ok(order) => {
            let names: Vec<String> = order.iter().map(|id| candidates[*id].package.full_name()).collect();
            Ok(names.join(" "))
        }
        Err(lines) => {
            let lines: Vec<String> = lines
                .iter()
                .map(|one| format!("{}: {}", one.line, one.reason))
                .collect();
            Err(lines.join("\n"))
        }
    }
}

#[track_caller]
fn gives(packages: &[&str], wanted: &str, expected: &str) {
    assert_eq!(
        try_solve(packages, wanted).unwrap_or_else(|error| panic!("{error}")),
        expected
    );
}

#[track_caller]
fn says(packages: &[&str], wanted: &str, expected: &str) {
    assert_eq!(try_solve(packages, wanted).unwrap_err(), expected);
}

#[test]
fn newest_that_fits() {
    let packages = ["a-1; D:b<2", "b-1", "b-2", "b-3_rc1"];
    gives(&packages, "a", "b-1 a-1");
    gives(&packages, "b", "b-3_rc1");
    gives(&packages, "b<3_rc1 a", "b-1 a-1");
    gives(&packages, "b~2", "b-2");
    gives(&packages, "b=2", "b-2");
}

#[test]
fn provided_names_with_versions() {
    let packages = [
        "lib1-1; p:so:x=1",
        "lib2-1; p:so:x=2",
        "app-1; D:so:x",
        "old-1; D:so:x<2",
    ];
    gives(&packages, "app", "lib2-1 app-1");
    gives(&packages, "old", "lib1-1 old-1");
    gives(&packages, "app old", "lib1-1 app-1 old-1");
    says(
        &packages,
        "old lib2",
        "lib2: there is wanted `lib2`, but lib2-1 is out: old-1 needs `so:x<2`",
    );
}

#[test]
fn virtual_names() {
    let packages = [
        "m1-1; p:mta; k:1",
        "m2-1; p:mta; k:2",
        "m3-1; p:mta",
        "s1-1; p:sh",
        "s2-1; p:sh",
        "app-1; D:mta sh",
    ];
    gives(&packages, "mta", "m2-1");
    gives(&packages, "mta m3", "m3-1");
    gives(&packages, "app s2", "m2-1 s2-1 app-1");
    gives(&packages, "m1 m2 m3", "m1-1 m2-1 m3-1");
    says(
        &packages,
        "app",
        "app: app-1 needs `sh`, which several packages may stand for: add one of `s1`, `s2`",
    );
    says(
        &packages,
        "mta>1",
        "mta>1: `mta>1` is not there, only one without a version (of m1-1), one without a version (of m2-1), one without a version (of m3-1)",
    );
}

#[test]
fn conflicts() {
    let packages = ["a-1; D:!b", "b-1", "b-2", "c-1; D:!b<2", "d-1; D:b=1"];
    says(
        &packages,
        "a b",
        "b: there is wanted `b`, but b-1 is out: a-1 has `!b`, b-2 is out: a-1 has `!b`",
    );
    gives(&packages, "c b", "b-2 c-1");
    gives(&packages, "b !b>1", "b-1");
    says(&packages, "c d", "d: d-1 needs `b=1`, but b-1 is out: c-1 has `!b<2`");
    says(&["x-1; D:!y; p:y"], "x", "x: x-1 conflicts with itself: `!y`");
}

#[test]
fn one_version_of_a_name() {
    let packages = ["a-1", "a-2", "b-1; D:a=1", "c-1; D:a=2", "d-1; p:a=3"];
    says(&packages, "b c", "c: b-1 needs `a=1`, but a-1 is out: c-1 needs `a=2`");
    gives(&packages, "a", "d-1");
    gives(&packages, "a b", "a-1 b-1");
}

#[test]
fn installed_on_their_own() {
    let packages = [
        "a-1",
        "b-1",
        "a-doc-1; i:a docs",
        "docs-1",
        "a-b-1; i:a=1 b; D:x",
        "a-c-1; i:a !b",
        "late-1; i:a-doc",
    ];
    gives(&packages, "a docs", "a-1 a-c-1 docs-1 a-doc-1 late-1");
    gives(&packages, "a b", "a-1 b-1");
    gives(&packages, "a docs !a-doc", "a-1 a-c-1 docs-1");
}

#[test]
fn tags_of_repositories() {
    let packages = ["a-1", "a-2@edge; D:b>=2", "b-1", "b-2@edge", "c-1; D:b", "only-1@edge"];
    gives(&packages, "a c", "a-1 b-1 c-1");
    gives(&packages, "a@edge c", "b-2 a-2 c-1");
    says(
        &packages,
        "only a>1",
        "only: only repositories with the tag @edge have only-1: if that is meant, write `only@edge`\n\
         a>1: only repositories with the tag @edge have a-2: if that is meant, write `a@edge`",
    );
    gives(&packages, "only@edge", "only-1");
}

#[test]
fn every_line_that_cannot_be_had_is_told_at_once() {
    let packages = [
        "busybox-1",
        "a-1; D:b",
        "b-1; D:so:libx.so.2",
        "x-1; p:so:libx.so.1=1",
        "f-1; X:1",
        "g-1; D:!busybox",
    ];
    says(
        &packages,
        "busyboks a busybox>2 f busybox g",
        "busyboks: no repository has `busyboks`; did you mean `busybox`?\n\
         a: a-1 needs `b`: b-1 needs `so:libx.so.2`: no repository has `so:libx.so.2`; did you mean `so:libx.so.1`?\n\
         busybox>2: `busybox>2` is not there, only 1\n\
         f: f-1 has the field `X:`, which this program does not know: it may not install the package\n\
         g: there is wanted `g`, but g-1 is out: it has `!busybox`, and busybox-1 is needed",
    );
}

#[test]
fn circles_are_no_obstacle() {
    gives(&["a-1; D:b", "b-1; D:c", "c-1; D:a"], "a", "c-1 b-1 a-1");
    says(
        &["a-1; D:b", "b-1; D:a x"],
        "a",
        "a: a-1 needs `b`: b-1 needs `x`: no repository has `x`; did you mean `a`?",
    );
}

#[test]
fn choices_are_taken_back_where_apk_gives_up() {
    let packages = [
        "app-1; D:v lib",
        "v1-1; p:v=2; D:lib<2",
        "v2-1; p:v=1; D:lib>=2",
        "lib-1",
        "lib-2",
        "top-1; D:lib>=2",
    ];
    gives(&packages, "app", "lib-1 v1-1 app-1");
    gives(&packages, "app top", "lib-2 v2-1 app-1 top-1");
}

#[test]
fn what_is_hopeless_is_given_up_soon() {
    // Ten pigeons for nine holes: no shorter proof than trying is known to this kind of search.
    let mut texts = Vec::new();
    for pigeon in 0..10 {
        let holes: Vec<String> = (0..9).map(|hole| format!("hole{hole}-{pigeon}")).collect();
        texts.push(format!("pigeon{pigeon}-1; D:nest{pigeon}"));
        for (hole, name) in holes.iter().enumerate() {
            texts.push(format!("{name}-1; p:nest{pigeon}=1 hole{hole}=1"));
        }
    }
    let packages: Vec<&str> = texts.iter().map(String::as_str).collect();
    let wanted: Vec<String> = (0..10).map(|pigeon| format!("pigeon{pigeon}")).collect();
    let problem = try_solve(&packages, &wanted.join(" ")).unwrap_err();
    assert!(problem.starts_with("pigeon9: "), "{problem}");
}

/// Everything that a small universe consists of.
fn universe() -> impl Strategy<Value = (Vec<String>, String)> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d", "v", "w"]);
    let version = || prop::sample::select(vec!["", "", "", "=1", "=2", "<2", ">1"]);
    let need = move || (name(), version(), prop::bool::weighted(0.2));
    let show =
        |(name, version, conflict): (&str, &str, bool)| format!("{}{name}{version}", if conflict { "!" } else { "" });
    let needs = prop::collection::vec(need().prop_map(show), 0..3);
    let provides = prop::collection::vec(prop::sample::select(vec!["v", "w", "v=1", "w=2", "a=3"]), 0..2);
    let package = (
        prop::sample::select(vec!["a", "b", "c", "d"]),
        1..3u32,
        needs,
        provides,
        0..2u32,
        prop::bool::weighted(0.1),
    );
    let package = package.prop_map(|(name, version, needs, provides, priority, alone)| {
        let alone = if alone { "; i:a b" } else { "" };
        let list = |field: &str, words: &str| {
            if words.is_empty() {
                String::new()
            } else {
                format!("; {field}:{words}")
            }
        };
        let (needs, provides) = (list("D", &needs.join(" ")), list("p", &provides.join(" ")));
        format!("{name}-{version}{needs}{provides}; k:{priority}{alone}")
    });
    let wanted = prop::collection::vec(need().prop_map(show), 1..4).prop_map(|words| words.join(" "));
    (prop::collection::vec(package, 1..8), wanted)
}

/// Providers of a name in a set: the package's place, and the version.
fn provided<'p>(packages: &'p [Package], set: &BTreeSet<usize>, name: &str) -> Vec<(usize, Option<String>)> {
    let mut found = Vec::new();
    for id in set {
        let package: &'p Package = &packages[*id];
        if package.name == name {
            found.push((*id, Some(package.version.clone())));
        }
        for one in package.provides.iter().filter(|one| one.name == name) {
            let text = one.to_string();
            found.push((*id, text.split_once('=').map(|(_, version)| version.to_owned())));
        }
    }
    found
}

fn means(need: &Dependency, version: Option<&str>) -> bool {
    match (&need.constraint, version) {
        (mos_alpine::Constraint::Any, _) => true,
        (mos_alpine::Constraint::Version { relation, version }, Some(found)) => relation.holds(found, version),
        _ => false,
    }
}

fn is_met(packages: &[Package], set: &BTreeSet<usize>, need: &Dependency) -> bool {
    let found = provided(packages, set, &need.name);
    found.iter().any(|(_, version)| means(need, version.as_deref())) != need.conflict
}

/// The rules of the solver's page, one by one.
fn is_solution(packages: &[Package], set: &BTreeSet<usize>, world: &[Dependency]) -> bool {
    let needs = |set: &BTreeSet<usize>| -> Vec<Dependency> {
        let own = set.iter().flat_map(|id| packages[*id].depends.clone());
        world.iter().cloned().chain(own).collect()
    };
    if !needs(set).iter().all(|need| is_met(packages, set, need)) {
        return false;
    }
    for name in ["a", "b", "c", "d", "v", "w"] {
        let found = provided(packages, set, name);
        let clash = found.iter().any(|(a, version)| {
            found
                .iter()
                .any(|(b, other)| a != b && (version.is_some() || other.is_some()))
        });
        if clash {
            return false;
        }
    }
    // Nothing is in that nobody needs: start from nothing and take in what is needed by what is in.
    let mut justified = BTreeSet::new();
    loop {
        let mut more = justified.clone();
        for need in needs(&justified).iter().filter(|need| !need.conflict) {
            let found = provided(packages, set, &need.name);
            let by = found.iter().filter(|(id, version)| {
                means(need, version.as_deref()) && (version.is_some() || packages[*id].provider_priority > 0)
            });
            more.extend(by.map(|(id, _)| *id));
        }
        for id in set {
            let alone = &packages[*id].install_if;
            if !alone.is_empty() && alone.iter().all(|need| is_met(packages, &justified, need)) {
                more.insert(*id);
            }
        }
        if more == justified {
            return justified == *set;
        }
        justified = more;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_trying_every_set((texts, wanted) in universe()) {
        let candidates: Vec<Candidate> = texts.iter().map(|text| candidate(text, &[None])).collect();
        let packages: Vec<Package> = candidates.iter().map(|one| one.package.clone()).collect();
        let world = world(&wanted);
        match solve(&candidates, &[None], &world) {
            Ok(order) => {
                let set: BTreeSet<usize> = order.iter().copied().collect();
                prop_assert_eq!(set.len(), order.len());
                prop_assert!(is_solution(&packages, &set, &world), "{:?}", set);
            }
            Err(lines) => {
                prop_assert!(!lines.is_empty());
                for bits in 0..1_u32 << packages.len() {
                    let set: BTreeSet<usize> = (0..packages.len()).filter(|id| bits >> id & 1 == 1).collect();
                    let called = set.iter().any(|id| !packages[*id].install_if.is_empty());
                    prop_assert!(called || !is_solution(&packages, &set, &world), "{:?} {:?}", set, lines);
                }
            }
        }
    }
}
