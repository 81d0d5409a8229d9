//! `my_init.conf`: the ancestor's file for the whole node, beside the first directory of service files. What it says
//! counts where the command line says nothing. It is read once, when a my_init begins; a bad one stops nothing.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mos_service::yaml::{Conf, Stage};
use mos_toml::Problem;

use crate::boot::command_line::CommandLine;
use crate::boot::target::Target;

/// Its name.
const NAME: &str = "my_init.conf";
/// The name of a directory of service files beside which, and not in which, the file is.
const SERVICES: &str = "services";
/// The largest file, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Reads the file that belongs to a directory of service files; what is wrong with it is told with its place.
pub fn read(services: &Path) -> (Conf, Vec<Problem>) {
    for file in places(services) {
        match text(&file) {
            Ok(text) => return Conf::parse(&file.display().to_string(), &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let problem = Problem::error(None, format!("{}: {error}", file.display()));
                return (Conf::default(), vec![problem]);
            }
        }
    }
    (Conf::default(), Vec::new())
}

/// The same for somebody who starts: problems as lines, and besides what surprises.
pub fn begin(services: &Path) -> (Conf, Vec<String>) {
    let (conf, problems) = read(services);
    let mut lines: Vec<String> = problems
        .iter()
        .map(|problem| problem.to_string().replace('\n', ";"))
        .collect();
    if !conf.has(Stage::Services) {
        lines.push(format!(
            "{NAME}: `init` has no `services`: no service is started by itself"
        ));
    }
    (conf, lines)
}

/// `DIR/my_init.conf`; of a directory called `services` also the one beside it, as on a node.
fn places(services: &Path) -> Vec<PathBuf> {
    let beside = services.parent().filter(|_| services.ends_with(SERVICES));
    let directories = [Some(services), beside].into_iter().flatten();
    directories.map(|directory| directory.join(NAME)).collect()
}

fn text(file: &Path) -> io::Result<String> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    File::open(file)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    match text.len() as u64 > FILE_MAX {
        true => Err(io::Error::other(format!("larger than {FILE_MAX} bytes"))),
        false => Ok(text),
    }
}

impl CommandLine {
    /// What this leaves open is as the file says.
    pub fn complete(&mut self, conf: &Conf) {
        self.log_level = self.log_level.or(conf.log_level);
        if self.target == Target::Everything && !conf.has(Stage::Services) {
            self.target = Target::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_the_directory_or_beside_one_called_services() {
        let root = tempfile::tempdir().unwrap();
        let services = root.path().join("my_init/services");
        fs::create_dir_all(&services).unwrap();
        assert_eq!(begin(&services), (Conf::default(), Vec::new()));
        fs::write(root.path().join("my_init/my_init.conf"), "log_level: error\ninit: []\n").unwrap();
        let (conf, told) = begin(&services);
        assert_eq!(conf.log_level, Some(3));
        assert_eq!(
            told,
            ["my_init.conf: `init` has no `services`: no service is started by itself"]
        );
        fs::write(services.join(NAME), "log_level: debug\n").unwrap();
        assert_eq!(read(&services).0.log_level, Some(7));
        assert_eq!(read(&root.path().join("my_init")).0.log_level, Some(3));
        fs::write(services.join(NAME), vec![b'#'; FILE_MAX as usize + 1]).unwrap();
        assert!(begin(&services).1[0].ends_with("my_init.conf: larger than 65536 bytes"));
        fs::write(services.join(NAME), [0xff]).unwrap();
        assert_eq!((read(&services).0, read(&services).1.len()), (Conf::default(), 1));
    }

    #[test]
    fn the_command_line_comes_first() {
        let (conf, _) = Conf::parse(NAME, "log_level: debug\ninit: [load-modules]\n");
        let complete = |text: &str| {
            let mut line = CommandLine::parse(text);
            line.complete(&conf);
            (line.log_level, line.target)
        };
        assert_eq!(complete(""), (Some(7), Target::Nothing));
        assert_eq!(
            complete("my_init.loglevel=err my_init.target=web"),
            (Some(3), Target::Only("web".into()))
        );
    }
}
