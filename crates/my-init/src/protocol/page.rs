//! `docs/protocol.md` is what the table says: `UPDATE_EXPECT=1 cargo test -p my-init --lib protocol` writes it.

use super::codes::ERRORS;
use super::methods::{Call, METHODS, Method};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");

const HEAD: &str = "\
# The control protocol

`my_init` answers on a unix socket (`/run/my_init.sock`, `--socket PATH`): JSON-RPC 2.0, one object per line, any number of requests per connection, answers in order. A request is at
most 65536 bytes long; batches (lists of requests) are not taken. Parameters are given by name, or as a list in the order below; one that is unknown is refused. `rpc.discover` answers
with all of this as an OpenRPC document.

States: `inactive blocked starting listening running degraded stopping restarting exited skipped failed`.

";

fn parameters(method: &Method) -> String {
    let each = method.parameters.iter().map(|parameter| {
        let mark = if parameter.required { "" } else { "?" };
        format!("`{}`{mark}: {}", parameter.name, parameter.text)
    });
    each.collect::<Vec<_>>().join("; ")
}

fn row(method: &Method) -> String {
    let mut errors: Vec<String> = method.errors.iter().map(ToString::to_string).collect();
    if method.writes {
        errors.push(super::codes::NOT_PERMITTED.to_string());
    }
    format!(
        "| `{}` | {} | {} | {} | {} |\n",
        method.name,
        parameters(method),
        method.text,
        method.result.1,
        errors.join(" ")
    )
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## Methods\n\nThose that end in -32015 change something (but `service.get`, which does not tell everybody everything). `?` marks what may be left out.\n\n");
    page.push_str("| method | parameters | what | result | errors |\n|---|---|---|---|---|\n");
    let (refused, methods): (Vec<&Method>, Vec<&Method>) =
        METHODS.iter().partition(|method| method.call == Call::Refused);
    methods.iter().for_each(|method| page.push_str(&row(method)));
    page.push_str("\n## Methods of zinit that are refused\n\n| method | why |\n|---|---|\n");
    for method in refused {
        page.push_str(&format!("| `{}` | {} |\n", method.name, method.text));
    }
    page.push_str("\n## Errors\n\nBesides those of JSON-RPC 2.0 (-32700, -32600, -32601, -32602):\n\n| code | what |\n|---|---|\n");
    for (code, what) in ERRORS {
        page.push_str(&format!("| {code} | {what} |\n"));
    }
    page
}

#[test]
fn the_page_is_what_the_table_says() {
    let expected = page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(PAGE, &expected).expect("the page can be written");
    }
    let actual = std::fs::read_to_string(PAGE).expect("the page is there");
    assert!(
        actual == expected,
        "docs/protocol.md is not what the table says: UPDATE_EXPECT=1 cargo test -p my-init --lib protocol"
    );
}
