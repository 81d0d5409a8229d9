//! A line of `sources.conf` and its build function, as `components/NAME.toml`.

use std::collections::BTreeMap;

use mos_toml::{Position, Problem, Problems};

use crate::shell::Recipe;
use crate::sources::{Kind, Line, Reference};
use crate::toml::{Sections, list, quoted};

/// A component of the config repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) programs: Vec<String>,
    /// The line that it comes from.
    pub(crate) position: Position,
    sections: Sections,
}

/// Components that come with MOS: what they are here.
const OWN: [(&str, &str); 5] = [
    ("my_init", "MOS has its own my_init"),
    ("zinit", "my_init takes the place of zinit"),
    ("myfs", "MOS has its own myfs"),
    ("mosnet", "MOS has its own mosnet"),
    (
        "mos_volmgr",
        "MOS's service `state` mounts the file system labelled mosdata on /var/cache",
    ),
];
/// Build functions whose scripts are not there: those that the manual of mos_builder describes, with the folder they build.
const DESCRIBED: [(&str, Option<&str>); 4] = [
    ("build_rfs", None),
    ("build_mycelium", Some("myceliumd")),
    ("build_mosstorage", None),
    ("install_corex", None),
];

/// What names of archives end in; the programs in them have names of their own.
const ARCHIVES: [&str; 6] = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst"];

/// The components of all lines. What cannot be satisfied goes to `problems`, all of it.
pub(crate) fn components(lines: &[Line], functions: &BTreeMap<String, Recipe>, problems: &Problems) -> Vec<Component> {
    let mut found: Vec<Component> = Vec::new();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        let name = &line.name.value;
        if let Some((_, instead)) = OWN.iter().find(|(own, _)| own == name) {
            let message = format!("`{name}` is left out: {instead}");
            problems.push(Problem::warning(Some(line.name.position.clone()), message));
            continue;
        }
        let Some(recipe) = recipe(line, functions, problems) else {
            continue;
        };
        let component = component(line, &recipe, problems);
        for program in &component.programs {
            if let Some(other) = owners.insert(program.clone(), name.clone()) {
                let message = format!("`{name}` and `{other}` both install the program {program}");
                problems.push(Problem::error(Some(line.function.position.clone()), message));
            }
        }
        found.push(component);
    }
    found
}

/// What the line's function does.
fn recipe(line: &Line, functions: &BTreeMap<String, Recipe>, problems: &Problems) -> Option<Recipe> {
    let function = &line.function;
    if let Some(recipe) = functions.get(&function.value) {
        complain_of_unknown(line, recipe, problems);
        let useful = recipe.builds || !recipe.programs.is_empty();
        if !useful {
            let place = format!("{}:{}", crate::FUNCTIONS, recipe.line);
            let message = format!(
                "`{}` ({place}) neither runs cargo nor installs a program",
                function.value
            );
            let problem = Problem::error(Some(function.position.clone()), message);
            problems.push(problem.with_hint(format!("write components/{}.toml by hand", line.name.value)));
        }
        return useful.then(|| recipe.clone());
    }
    if let Some((_, folder)) = DESCRIBED.iter().find(|(known, _)| *known == function.value) {
        return Some(Recipe {
            builds: line.kind == Kind::Git,
            subdirectory: folder.map(str::to_owned),
            ..Recipe::default()
        });
    }
    let message = format!("`{}` is not defined in {}", function.value, crate::FUNCTIONS);
    let problem = Problem::error(Some(function.position.clone()), message);
    let near = mos_toml::nearest(&function.value, functions.keys().map(String::as_str));
    problems.push(match near {
        Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
        None => problem,
    });
    None
}

fn complain_of_unknown(line: &Line, recipe: &Recipe, problems: &Problems) {
    for (number, command) in &recipe.unknown {
        let position = Position {
            file: crate::FUNCTIONS.to_owned(),
            line: *number,
            column: 1,
        };
        let message = format!(
            "`{}` of `{}` is not carried over: {command}",
            line.function.value, line.name.value
        );
        problems.push(Problem::warning(Some(position), message));
    }
}

fn component(line: &Line, recipe: &Recipe, problems: &Problems) -> Component {
    let name = &line.name.value;
    let mut sections = Sections::default();
    let from = format!("{name}, which {} of mos_builder made", line.function.value);
    sections.put("", "description", quoted(&from));
    let programs = programs(line, recipe, problems);
    match line.kind {
        Kind::Git => git(line, recipe, &mut sections),
        Kind::Release => release(line, &programs, &mut sections),
    }
    sections.put("install", "binaries", list(programs.iter().map(String::as_str)));
    Component {
        name: name.clone(),
        programs,
        position: line.name.position.clone(),
        sections,
    }
}

fn git(line: &Line, recipe: &Recipe, sections: &mut Sections) {
    sections.put("source", "kind", quoted("git"));
    sections.put("source", "url", quoted(&line.url.value));
    let version = &line.version.value;
    sections.put("source", Reference::of(version).key(), quoted(version));
    if let Some(folder) = &recipe.subdirectory {
        sections.put("source", "subdirectory", quoted(folder));
    }
    if !recipe.builds {
        sections.put("build", "kind", quoted("none"));
    }
    let texts = |items: &[String]| list(items.iter().map(String::as_str));
    if !recipe.packages.is_empty() {
        sections.put("build", "packages", texts(&recipe.packages));
    }
    if !recipe.features.is_empty() {
        sections.put("build", "features", texts(&recipe.features));
    }
    if recipe.no_default_features {
        sections.put("build", "default_features", "false");
    }
}

fn release(line: &Line, programs: &[String], sections: &mut Sections) {
    sections.put("source", "kind", quoted("release"));
    let version = &line.version.value;
    // An environment that names another version then gets its file.
    sections.put("source", "url", quoted(&line.url.value.replace(version, "{version}")));
    sections.put("source", "version", quoted(version));
    let file = line.url.value.rsplit('/').next().unwrap_or_default();
    if let [program] = programs
        && program != file
        && !ARCHIVES.iter().any(|suffix| file.ends_with(suffix))
    {
        sections.put("source", "rename", quoted(program));
    }
}

/// The programs by the names that the build gives them.
fn programs(line: &Line, recipe: &Recipe, problems: &Problems) -> Vec<String> {
    if let Some(name) = &line.rename {
        return vec![name.clone()];
    }
    let mut programs: Vec<String> = Vec::new();
    for (made, installed) in &recipe.programs {
        let installed = Some(installed)
            .filter(|name| !name.is_empty())
            .unwrap_or(&line.name.value);
        let program = made.as_ref().unwrap_or(installed);
        if program != installed {
            let message = format!(
                "`{program}` of `{}` keeps its name: it was installed as {installed}",
                line.name.value
            );
            problems.push(Problem::warning(Some(line.function.position.clone()), message));
        }
        if !programs.contains(program) {
            programs.push(program.clone());
        }
    }
    if programs.is_empty() {
        programs.push(line.name.value.clone());
    }
    programs
}

impl Component {
    /// The file, with the service that runs the component's program.
    pub(crate) fn render(mut self, service: Option<&str>) -> String {
        if let Some(name) = service {
            self.sections
                .put("install", "service", quoted(&format!("services/{name}.service.toml")));
        }
        self.sections.render(&format!("# From {}.\n", self.position))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn made(lines: &str, script: &str) -> (String, String) {
        let problems = Problems::default();
        let lines = crate::sources::parse("sources.conf", lines, &problems);
        let components = components(&lines, &crate::shell::functions(script), &problems);
        let texts: Vec<String> = components.into_iter().map(|component| component.render(None)).collect();
        (texts.join("\n"), problems.to_string())
    }

    #[test]
    fn the_lines_of_the_readme_make_components() {
        let (texts, problems) = made(
            "git my_init https://forge.ourworld.tf/geomind_code/my_init.git development build_my_init\n\
             git:mycelium:https://github.com/threefoldtech/mycelium:0.6.1:build_mycelium\n\
             release:corex:https://github.com/threefoldtech/corex/releases/download/2.1.4/corex-2.1.4-amd64-linux-static:2.1.4:install_corex:rename=corex\n",
            "",
        );
        expect![[r##"
            # From sources.conf:2:5.
            description = "mycelium, which build_mycelium of mos_builder made"

            [source]
            kind = "git"
            url = "https://github.com/threefoldtech/mycelium"
            tag = "0.6.1"
            subdirectory = "myceliumd"

            [install]
            binaries = ["mycelium"]

            # From sources.conf:3:9.
            description = "corex, which install_corex of mos_builder made"

            [source]
            kind = "release"
            url = "https://github.com/threefoldtech/corex/releases/download/{version}/corex-{version}-amd64-linux-static"
            version = "2.1.4"
            rename = "corex"

            [install]
            binaries = ["corex"]
        "##]]
        .assert_eq(&texts);
        expect!["warning: sources.conf:1:5: `my_init` is left out: MOS has its own my_init"].assert_eq(&problems);
    }

    #[test]
    fn functions_of_the_checkout_decide() {
        let (texts, problems) = made(
            "git:myapp:https://h/myapp:main:build_myapp\ngit:b:https://h/b:v1:build_bb\ngit:c:https://h/c:v1:build_c\n",
            "function build_myapp() {\n  cd crates/app\n  cargo build --release -p app --features x\n  make docs\n  \
             cp target/release/app \"$INSTALL_DIR/usr/bin/myapp\"\n}\nfunction build_c() {\n  make\n}\n",
        );
        assert!(
            texts.contains("branch = \"main\"\nsubdirectory = \"crates/app\"\n\n[build]\npackages = [\"app\"]\nfeatures = [\"x\"]\n"),
            "{texts}"
        );
        expect![[r#"
            warning: scripts/lib/components.sh:4:1: `build_myapp` of `myapp` is not carried over: make docs
            warning: sources.conf:1:32: `app` of `myapp` keeps its name: it was installed as myapp
            error: sources.conf:2:22: `build_bb` is not defined in scripts/lib/components.sh
              hint: did you mean `build_c`?
            warning: scripts/lib/components.sh:8:1: `build_c` of `c` is not carried over: make
            error: sources.conf:3:22: `build_c` (scripts/lib/components.sh:7) neither runs cargo nor installs a program
              hint: write components/c.toml by hand"#]]
        .assert_eq(&problems);
    }
}
