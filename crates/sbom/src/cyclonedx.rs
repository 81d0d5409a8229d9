//! CycloneDX 1.6, JSON (ECMA-424; cyclonedx.org/docs/1.6/json).

use serde_json::{Value, json};

use crate::{Bill, Item, ItemKind, text};

/// The reference of the image itself.
const IMAGE: &str = "image";
/// The property that says what an item is for.
const ROLE: &str = "mos:role";

/// The bill as a CycloneDX document. Files in the image are the evidence of an item's presence.
pub fn cyclonedx(bill: &Bill) -> String {
    let items = bill.identified();
    let components: Vec<Value> = items.iter().map(|(name, item)| component(name, item)).collect();
    text(&json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", bill.uuid()),
        "version": 1,
        "metadata": {
            "timestamp": bill.created,
            "tools": { "components": [{ "type": "application", "name": "mos", "version": bill.mos }] },
            "component": {
                "type": "operating-system",
                "bom-ref": IMAGE,
                "name": bill.name,
                "version": bill.version,
                "hashes": [{ "alg": "SHA-256", "content": bill.sha256 }],
            },
        },
        "components": components,
        "dependencies": dependencies(&items),
    }))
}

fn component(name: &str, item: &Item) -> Value {
    let mut component = json!({
        "type": match item.kind {
            ItemKind::Package | ItemKind::Program => "application",
            ItemKind::Kernel => "operating-system",
            ItemKind::Crate => "library",
        },
        "bom-ref": name,
        "name": item.name,
        "version": item.version,
        "purl": item.purl,
        "properties": [{ "name": ROLE, "value": item.role }],
    });
    if let Some(sha256) = &item.sha256 {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
    }
    if let Some(licence) = &item.licence {
        component["licenses"] = json!([{ "expression": licence.expression, "acknowledgement": "declared" }]);
    }
    if !item.files.is_empty() {
        let occurrences: Vec<Value> = item
            .files
            .iter()
            .map(|path| json!({ "location": format!("/{path}") }))
            .collect();
        component["evidence"] = json!({ "occurrences": occurrences });
    }
    component
}

/// The image depends on what is in it, programs on their crates.
fn dependencies(items: &[(String, &Item)]) -> Vec<Value> {
    let in_image = items.iter().filter(|(_, item)| item.linked_into.is_empty());
    let direct: Vec<&String> = in_image.map(|(name, _)| name).collect();
    let mut all = vec![json!({ "ref": IMAGE, "dependsOn": direct })];
    for (program, item) in items.iter().filter(|(_, item)| item.kind == ItemKind::Program) {
        let linked = items.iter().filter(|(_, other)| other.linked_into.contains(&item.name));
        let linked: Vec<&String> = linked.map(|(name, _)| name).collect();
        all.push(json!({ "ref": program, "dependsOn": linked }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample;

    #[test]
    fn every_item_is_a_component_with_evidence() {
        let document: Value = serde_json::from_str(&cyclonedx(&sample())).unwrap();
        let busybox = &document["components"][0];
        assert_eq!(busybox["evidence"]["occurrences"][0]["location"], "/bin/busybox");
        assert_eq!(
            busybox["licenses"][0]["expression"],
            "GPL-2.0-only AND LicenseRef-Odd-Licence"
        );
        assert_eq!(document["components"][2]["type"], "library");
        assert_eq!(
            document["serialNumber"],
            "urn:uuid:22222222-2222-8222-a222-222222222222"
        );
        let dependencies = &document["dependencies"];
        assert_eq!(dependencies[0]["dependsOn"].as_array().unwrap().len(), 2);
        assert_eq!(dependencies[1]["dependsOn"][0], "crate-rustix-1.1.0");
        assert_eq!(cyclonedx(&sample()), cyclonedx(&sample()));
    }
}
