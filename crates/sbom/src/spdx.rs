//! SPDX 2.3, JSON (ISO/IEC 5962 continued: spdx.github.io/spdx-spec/v2.3).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Bill, Item, ItemKind, text};

/// What the format has for "nobody says".
const NOT_SAID: &str = "NOASSERTION";
/// The image among the packages.
const IMAGE: &str = "SPDXRef-image";

/// The bill as an SPDX document.
pub fn spdx(bill: &Bill) -> String {
    let items = bill.identified();
    let mut packages = vec![image(bill)];
    packages.extend(items.iter().map(|(name, item)| package(name, item)));
    text(&json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": bill.name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/mos-{}", bill.uuid()),
        "creationInfo": { "created": bill.created, "creators": [format!("Tool: mos-{}", bill.mos)] },
        "documentDescribes": [IMAGE],
        "packages": packages,
        "relationships": relationships(&items),
        "hasExtractedLicensingInfos": extracted(bill),
    }))
}

fn image(bill: &Bill) -> Value {
    json!({
        "SPDXID": IMAGE,
        "name": bill.name,
        "versionInfo": bill.version,
        "packageFileName": bill.file,
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": bill.sha256 }],
        "licenseConcluded": NOT_SAID,
        "licenseDeclared": NOT_SAID,
        "copyrightText": NOT_SAID,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    })
}

fn package(name: &str, item: &Item) -> Value {
    let declared = item.licence.as_ref().map_or(NOT_SAID, |licence| &licence.expression);
    let mut package = json!({
        "SPDXID": format!("SPDXRef-{name}"),
        "name": item.name,
        "versionInfo": item.version,
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": false,
        "licenseConcluded": NOT_SAID,
        "licenseDeclared": declared,
        "copyrightText": NOT_SAID,
        "comment": item.role,
        "primaryPackagePurpose": match item.kind {
            ItemKind::Package | ItemKind::Kernel => "INSTALL",
            ItemKind::Program => "APPLICATION",
            ItemKind::Crate => "LIBRARY",
        },
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": item.purl,
        }],
    });
    if let Some(sha256) = &item.sha256 {
        package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]);
    }
    package
}

/// The image has the items in it; programs have their crates linked in.
fn relationships(items: &[(String, &Item)]) -> Vec<Value> {
    let related = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut all = vec![related("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for (name, item) in items {
        let own = format!("SPDXRef-{name}");
        if item.linked_into.is_empty() {
            all.push(related(IMAGE, "CONTAINS", &own));
        }
        let programs = items.iter().filter(|(_, other)| other.kind == ItemKind::Program);
        for (program, _) in programs.filter(|(_, program)| item.linked_into.contains(&program.name)) {
            all.push(related(&format!("SPDXRef-{program}"), "STATIC_LINK", &own));
        }
    }
    all
}

/// What each `LicenseRef-…` stands for.
fn extracted(bill: &Bill) -> Vec<Value> {
    let licences = bill
        .items
        .iter()
        .filter_map(|item| Some((item, item.licence.as_ref()?)));
    let mut found: BTreeMap<&String, (&String, &str)> = BTreeMap::new();
    for (item, licence) in licences {
        for (reference, name) in &licence.references {
            found.entry(reference).or_insert((name, &item.name));
        }
    }
    let explained = |(reference, (name, package)): (&String, (&String, &str))| {
        let what = format!("`{name}`, as {package} names it; the text comes with that package");
        json!({ "licenseId": reference, "name": name, "extractedText": what })
    };
    found.into_iter().map(explained).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample;

    #[test]
    fn every_item_is_a_package_and_related() {
        let document: Value = serde_json::from_str(&spdx(&sample())).unwrap();
        assert_eq!(document["packages"].as_array().unwrap().len(), 4);
        let busybox = &document["packages"][1];
        assert_eq!(busybox["SPDXID"], "SPDXRef-package-busybox-1-1.35.0-4-b7");
        assert_eq!(busybox["licenseDeclared"], "GPL-2.0-only AND LicenseRef-Odd-Licence");
        assert_eq!(
            busybox["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/busybox@1%3A1.35.0-4%2Bb7"
        );
        assert_eq!(
            document["hasExtractedLicensingInfos"][0]["licenseId"],
            "LicenseRef-Odd-Licence"
        );
        let relationships: Vec<String> = document["relationships"]
            .as_array()
            .unwrap()
            .iter()
            .map(shown)
            .collect();
        let expected = [
            "SPDXRef-DOCUMENT DESCRIBES SPDXRef-image",
            "SPDXRef-image CONTAINS SPDXRef-package-busybox-1-1.35.0-4-b7",
            "SPDXRef-image CONTAINS SPDXRef-program-my-init-0.1.0",
            "SPDXRef-program-my-init-0.1.0 STATIC_LINK SPDXRef-crate-rustix-1.1.0",
        ];
        assert_eq!(relationships, expected);
        assert_eq!(spdx(&sample()), spdx(&sample()));
    }

    fn shown(related: &Value) -> String {
        let field = |name: &str| related[name].as_str().unwrap().to_owned();
        [
            field("spdxElementId"),
            field("relationshipType"),
            field("relatedSpdxElement"),
        ]
        .join(" ")
    }
}
