//! `[conditions]`.

use crate::condition::{Argument, Condition};

use super::*;

pub(super) fn conditions<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Vec<Condition> {
    let Some(table) = root.table("conditions") else {
        return Vec::new();
    };
    let mut conditions = paths(&table, "path_exists", Condition::PathExists);
    conditions.extend(paths(&table, "path_not_exists", Condition::PathNotExists));
    conditions.extend(paths(&table, "directory_not_empty", Condition::DirectoryNotEmpty));
    conditions.extend(arguments(&table, "kernel_argument", Condition::KernelArgument));
    conditions.extend(arguments(&table, "no_kernel_argument", Condition::NoKernelArgument));
    tables.push(table);
    conditions
}

fn paths(table: &Table<'_>, key: &'static str, condition: fn(String) -> Condition) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for path in table.string_list(key) {
        if path.value.starts_with('/') && !path.value.contains('\0') {
            conditions.push(condition(path.value));
        } else {
            let message = format!("`{}` is not an absolute path", path.value);
            table.report(Problem::error(Some(path.position), message));
        }
    }
    conditions
}

fn arguments(table: &Table<'_>, key: &'static str, condition: fn(Argument) -> Condition) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for text in table.string_list(key) {
        match Argument::parse(&text.value) {
            Some(argument) => conditions.push(condition(argument)),
            None => {
                let message = format!("`{}` is not an argument of the kernel", text.value);
                let problem = Problem::error(Some(text.position), message);
                table.report(problem.with_hint("`name`, whatever its value, or `name=value`"));
            }
        }
    }
    conditions
}
