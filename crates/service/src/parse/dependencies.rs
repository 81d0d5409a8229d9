//! `[dependencies]`.

use mos_toml::Entry;

use super::*;
use crate::{Follow, Reaction};

pub(super) fn dependencies<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>, kind: Kind) -> Dependencies {
    let Some(table) = root.table("dependencies") else {
        return Dependencies::default();
    };
    let dependencies = Dependencies {
        requires: requires(&table, tables, kind),
        after: names(&table, "after"),
        wants: names(&table, "wants"),
        conflicts: names(&table, "conflicts"),
    };
    tables.push(table);
    dependencies
}

/// Names, or tables with a name and what follows when something happens to it.
fn requires<'d>(table: &Table<'d>, tables: &mut Vec<Table<'d>>, kind: Kind) -> Vec<Dependency> {
    let mut all = Vec::new();
    for entry in table.entry_list("requires") {
        match entry {
            Entry::Text(name) => all.push(dependency(name, Follow::default())),
            Entry::Table(edge) => {
                let name = edge.required_string("name");
                let follow = Follow {
                    on_stop: reaction(&edge, "on_stop", kind),
                    on_failure: reaction(&edge, "on_failure", kind),
                    on_restart: reaction(&edge, "on_restart", kind),
                };
                all.extend(name.map(|name| dependency(name, follow)));
                tables.push(edge);
            }
        }
    }
    all
}

fn reaction(edge: &Table<'_>, key: &'static str, kind: Kind) -> Reaction {
    let choices = [
        ("keep", Reaction::Keep),
        ("restart", Reaction::Restart),
        ("stop", Reaction::Stop),
    ];
    let reaction = edge.choice(key, &choices).unwrap_or_default();
    if kind == Kind::Target && reaction != Reaction::Keep {
        edge.complain(
            key,
            format!("a target runs when what it requires does, so `{key}` has no meaning"),
        );
    }
    reaction
}

pub(super) fn names(table: &Table<'_>, key: &'static str) -> Vec<Dependency> {
    let items = table.string_list(key).into_iter();
    items.map(|item| dependency(item, Follow::default())).collect()
}

fn dependency(name: Item<String>, follow: Follow) -> Dependency {
    let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Dependency {
        name: name.value,
        line: place(name.position.line),
        column: place(name.position.column),
        follow,
    }
}
