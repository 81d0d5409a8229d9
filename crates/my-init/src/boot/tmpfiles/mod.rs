//! `tmpfiles.d`: files and directories that have to be there (tmpfiles.d(5)).
//!
//! A line is `TYPE PATH MODE USER GROUP AGE ARGUMENT`; `-` leaves a field as it is, blanks may stand in quotes.
//!
//! | type | what it does |
//! |---|---|
//! | `d`, `v`, `q`, `Q` | a directory, with this mode and these owners |
//! | `D` | the same, emptied at boot |
//! | `e` | mode and owners of directories that are there; a pattern |
//! | `f`, `F` (also `f+`) | a file with the argument as its content; `F` also when there is one |
//! | `w`, `w+` | writes, or appends, the argument to files that are there; a pattern |
//! | `p` | a named pipe |
//! | `L`, `L+`, `L?` | a symbolic link to the argument; `L+` in place of whatever is there, `L?` when its target is there |
//! | `C`, `C+` | a copy of the file or directory that the argument names, when there is nothing, or only an empty directory |
//! | `z`, `Z` | mode and owners of what is there, `Z` with all that is below; a pattern |
//! | `r`, `R` | removes a file or an empty directory, `R` with all that is below; a pattern |
//!
//! `!` (only at boot) and `=` after the type are accepted, with `-` an error is nobody's business. Ages are not applied:
//! nothing here runs again to find what is old. Other types (attributes, access lists, devices) are named and left out.
//! First everything is removed that is to be, then the rest is made, in the order of the lines.
//!
//! Paths are walked from the root one name at a time, and a symbolic link is only followed when root made it: nobody
//! else can turn a line into a change somewhere else.

mod act;
mod line;
mod walk;

use std::path::Path;

use super::accounts::Accounts;
use super::fragments;
use act::{Phase, act};
use line::Line;

/// Does what the fragments below `root` say, to the tree at `root`. Returns what went wrong; nothing of that stops the
/// rest.
pub fn apply(root: &Path) -> Vec<String> {
    let (fragments, mut problems) = fragments::read(root, "tmpfiles.d");
    let accounts = Accounts::read(root);
    let mut lines = Vec::new();
    let mut aged = 0;
    for (place, text) in fragments.iter().flat_map(fragments::Fragment::lines) {
        match Line::parse(text, root, &accounts) {
            Ok(line) => {
                aged += usize::from(line.has_age);
                lines.push((place, line));
            }
            Err(error) => problems.push(format!("{place}: {error}")),
        }
    }
    if aged > 0 {
        problems.push(format!(
            "tmpfiles.d: {aged} ages are not applied: nothing is removed because it is old"
        ));
    }
    for phase in [Phase::Remove, Phase::Make] {
        for (place, line) in &lines {
            if let Err(error) = act(line, phase, root)
                && !line.may_fail
            {
                problems.push(format!("{place}: {}: {error}", line.path));
            }
        }
    }
    problems
}
