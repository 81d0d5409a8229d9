//! `[dependencies]`.

use super::*;

pub(super) fn dependencies<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Dependencies {
    let Some(table) = root.table("dependencies") else {
        return Dependencies::default();
    };
    let dependencies = Dependencies {
        requires: names(&table, "requires"),
        after: names(&table, "after"),
        wants: names(&table, "wants"),
        conflicts: names(&table, "conflicts"),
    };
    tables.push(table);
    dependencies
}

pub(super) fn names(table: &Table<'_>, key: &'static str) -> Vec<Dependency> {
    let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let items = table.string_list(key).into_iter();
    items
        .map(|item| Dependency {
            name: item.value,
            line: place(item.position.line),
            column: place(item.position.column),
        })
        .collect()
}
