//! Checks the direction of dependencies: a crate may use only crates that stand above it in the table of
//! ARCHITECTURE.md, and every crate of the workspace stands there.

use std::process::Command;

use serde_json::Value;

/// Reads the table and the workspace, and compares.
pub(crate) fn check() -> Result<String, String> {
    let page = std::fs::read_to_string("ARCHITECTURE.md").map_err(|error| format!("ARCHITECTURE.md: {error}"))?;
    let order = order(&page);
    let packages = packages(&metadata()?);
    let faults = faults(&order, &packages);
    if faults.is_empty() {
        Ok(format!(
            "layers: {} crates, all dependencies point upwards",
            packages.len()
        ))
    } else {
        Err(faults.join("\n"))
    }
}

/// The crates of the table, top first: rows of the first table that has any with a name in back quotes in front.
fn order(page: &str) -> Vec<String> {
    let rows = page.lines().map(|line| line.strip_prefix("| `"));
    rows.skip_while(Option::is_none)
        .map_while(|row| row)
        .filter_map(|row| row.split('`').next())
        .map(str::to_owned)
        .collect()
}

/// Each package of the workspace with those of the workspace that it uses outside its tests.
fn packages(metadata: &Value) -> Vec<(String, Vec<String>)> {
    let list = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let uses = |package: &Value| {
        let all = package["dependencies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let own = all
            .iter()
            .filter(|used| used["path"].is_string() && used["kind"].as_str() != Some("dev"));
        own.map(name).collect()
    };
    list.iter().map(|package| (name(package), uses(package))).collect()
}

fn faults(order: &[String], packages: &[(String, Vec<String>)]) -> Vec<String> {
    let place = |name: &str| order.iter().position(|listed| listed == name);
    let mut faults = Vec::new();
    for (package, uses) in packages {
        let Some(own) = place(package) else {
            faults.push(format!("{package} is missing from the table in ARCHITECTURE.md"));
            continue;
        };
        let wrong = uses.iter().filter(|used| place(used).is_some_and(|other| other >= own));
        faults.extend(wrong.map(|used| format!("{package} uses {used}, which stands below it")));
    }
    for listed in order {
        if !packages.iter().any(|(package, _)| package == listed) {
            faults.push(format!(
                "{listed} stands in ARCHITECTURE.md, but is not in the workspace"
            ));
        }
    }
    faults
}

fn metadata() -> Result<Value, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(list: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        list.iter()
            .map(|(name, uses)| ((*name).to_owned(), uses.iter().map(|used| (*used).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn downward_and_unlisted_dependencies_are_named() {
        let order =
            order("text\n| crate | charter |\n| `a` | x |\n| `b` | y |\n| `d` | gone |\n\n| `efi` | another table |\n");
        let faults = faults(&order, &packages(&[("a", &["b"]), ("b", &["a"]), ("c", &[])]));
        assert_eq!(
            faults,
            [
                "a uses b, which stands below it",
                "c is missing from the table in ARCHITECTURE.md",
                "d stands in ARCHITECTURE.md, but is not in the workspace",
            ]
        );
    }
}
