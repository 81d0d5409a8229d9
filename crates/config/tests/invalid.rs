//! Every folder in `tests/invalid` is a config repository with something wrong; `expected.txt` beside it holds the
//! exact messages. `MOS_UPDATE_EXPECTED=1` writes them anew: read the difference before committing it.

use std::fs;
use std::path::Path;

fn messages(directory: &Path) -> String {
    match mos_config::load(directory) {
        Ok(loaded) => {
            let problems = loaded.problems(None);
            problems.iter().map(|problem| format!("{problem}\n")).collect()
        }
        Err(error) => format!("{error}\n"),
    }
}

#[test]
fn every_sample_is_refused_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid");
    let mut samples: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    samples.sort();
    assert!(samples.len() >= 8, "samples are missing from {}", root.display());
    let mut wrong = Vec::new();
    for sample in samples {
        let prefix = format!("{}/", root.display());
        let actual = messages(&sample).replace(&prefix, "");
        assert!(!actual.is_empty(), "{}: nothing was refused", sample.display());
        let expected = sample.join("expected.txt");
        if std::env::var_os("MOS_UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &actual).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if wanted != actual {
            wrong.push(format!(
                "{}\n--- expected\n{wanted}--- actual\n{actual}",
                expected.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
