//! Error codes: those of JSON-RPC 2.0 (section 5.1) and zinit 0.3.9, and one of our own.

/// The line is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// It is JSON, but no request.
pub const INVALID_REQUEST: i64 = -32600;
/// No such method, or one that is refused here.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// A parameter is missing, unknown or of another type.
pub const INVALID_PARAMS: i64 = -32602;
/// No service has this name.
pub const NOT_FOUND: i64 = -32000;
/// It is already active.
pub const ALREADY_RUNNING: i64 = -32001;
/// It is not active, or the node is shutting down.
pub const NOT_RUNNING: i64 = -32002;
/// It waits for itself.
pub const CYCLE: i64 = -32004;
/// It is defined by a file that is not for added services.
pub const UNSAFE_REMOVAL: i64 = -32005;
/// The name, or its file, is taken by one that is not for added services.
pub const EXISTS: i64 = -32010;
/// A service file cannot be used, or a value is out of range.
pub const VALIDATION: i64 = -32011;
/// It requires what no service file defines.
pub const MISSING_DEPENDENCY: i64 = -32012;
/// A file could not be written or removed.
pub const NOT_PERSISTED: i64 = -32014;
/// The caller may only read (a code of our own).
pub const NOT_PERMITTED: i64 = -32015;

/// Every code that a method may answer with, and what it says. Those of the ancestor that are missing cannot happen:
/// -32003 (-32011 says it), -32013 (seen at start, as the service's state).
pub const ERRORS: [(i64, &str); 10] = [
    (NOT_FOUND, "no service has this name"),
    (ALREADY_RUNNING, "it is already active"),
    (NOT_RUNNING, "it is not active, or the node is shutting down"),
    (CYCLE, "it waits for itself"),
    (UNSAFE_REMOVAL, "it is defined by a file that is not for added services"),
    (
        EXISTS,
        "the name, or its file, is taken by a service that was not added",
    ),
    (VALIDATION, "what was given cannot be used"),
    (MISSING_DEPENDENCY, "it requires what no service file defines"),
    (NOT_PERSISTED, "a file could not be written or removed"),
    (NOT_PERMITTED, "the caller may only read"),
];

/// What a code says, for those that a method may answer with.
pub fn meaning(code: i64) -> &'static str {
    let found = ERRORS.iter().find(|(one, _)| *one == code);
    found.map_or("", |(_, meaning)| meaning)
}
