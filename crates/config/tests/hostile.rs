//! Whatever stands in a repository's files, reading it ends with problems and not with a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mos_config::{Lock, check, parse, resolve};
use mos_toml::Problems;
use proptest::prelude::*;

/// The text files of the example that are read.
fn texts() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart");
    let mut texts = BTreeMap::new();
    for folder in ["", "environments", "components", "services", "access", "image"] {
        for entry in fs::read_dir(root.join(folder)).expect("the example is there") {
            let path = entry.expect("the example is there").path();
            let name = path.strip_prefix(&root).expect("below").to_string_lossy().into_owned();
            if path.is_file() && !name.ends_with(".md") {
                texts.insert(name, fs::read_to_string(path).expect("text"));
            }
        }
    }
    texts
}

proptest! {
    #[test]
    fn a_changed_file_never_panics(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
                                   cut in 0usize..40, insert in "[\\PC\n\"=\\[\\]{}.#-]{0,12}") {
        let mut texts = texts();
        let names: Vec<String> = texts.keys().cloned().collect();
        let name = file.get(&names);
        let characters: Vec<char> = texts[name].chars().collect();
        let start = at.index(characters.len());
        let end = (start + cut).min(characters.len());
        let changed = characters[..start].iter().collect::<String>() + &insert + &characters[end..].iter().collect::<String>();
        texts.insert(name.clone(), changed);

        let problems = Problems::default();
        if let Some(repository) = parse(&texts, &problems) {
            check(&repository, &|_| true, &problems);
            let sound = !problems.any_error();
            for environment in repository.environments.keys() {
                let plan = resolve(&repository, environment, &Lock::default());
                prop_assert!(plan.is_ok() || !sound, "{name}: no problem found, but {plan:?}");
            }
        } else {
            prop_assert!(problems.any_error(), "{name}: refused without a reason");
        }
        for problem in problems.into_sorted() {
            prop_assert!(problem.position.is_none_or(|it| it.line >= 1 && it.column >= 1));
        }
    }
}
