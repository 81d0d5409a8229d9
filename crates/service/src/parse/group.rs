//! `[group]`: several services as one.

use super::*;

pub(super) fn read_group<'d>(origin: &Origin<'_>, table: Table<'d>, tables: &mut Vec<Table<'d>>) -> Option<Service> {
    let choices = [
        ("restart", OnFailure::Restart),
        ("stop", OnFailure::Stop),
        ("keep", OnFailure::Keep),
    ];
    let service = Service {
        kind: Kind::Group,
        name: name(origin, &table),
        critical: table.boolean("critical").unwrap_or(false),
        status: status(&table),
        on_failure: table.choice("on_failure", &choices).unwrap_or_default(),
        dependencies: Dependencies {
            requires: dependencies::names(&table, "members"),
            ..Dependencies::default()
        }
        .into(),
        ..blank(origin.file)
    };
    if service.dependencies.requires.is_empty() {
        table.complain("members", "a group has `members`, the names of at least one service");
    }
    tables.push(table);
    Some(service)
}
