//! A catalog in a real bucket, with several uploads at once.

#![allow(clippy::unwrap_used, reason = "functions beside the tests are tests too")]

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;

use jiff::Timestamp;
use mos_catalog::{Catalog, CatalogError, Entry, INDEX_JSON, INDEX_TEXT, Upload, Uploaded};
use mos_store::{Write, open_write};
use mos_testkit::S3Server;
use serde_json::Value;

const LIMIT: u64 = 1 << 20;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

fn entry(name: &str, bytes: &[u8], environment: &str, time: Timestamp) -> Entry {
    Entry {
        environment: Some(environment.to_owned()),
        release: Some("7".to_owned()),
        kernel: Some("6.12.57".to_owned()),
        ..Entry::new(name, bytes, time).unwrap()
    }
}

fn upload(catalog: &Catalog<'_>, entry: Entry, bytes: &[u8]) -> Result<Uploaded, CatalogError> {
    catalog.upload(&Upload { entry, bytes })
}

fn index(store: &dyn Write) -> Value {
    serde_json::from_slice(&store.get(&format!("kernel/{INDEX_JSON}"), LIMIT).unwrap()).unwrap()
}

fn text(store: &dyn Write) -> String {
    String::from_utf8(store.get(&format!("kernel/{INDEX_TEXT}"), LIMIT).unwrap()).unwrap()
}

#[test]
fn an_upload_is_in_the_index_and_a_second_one_changes_nothing() {
    let server = S3Server::start();
    let store = open_write(&format!("{}/flists/mos_builder", server.url())).unwrap();
    let catalog = Catalog::new(&*store, "kernel");
    let name = "vmlinuz-6.12.57+deb13-cloud-amd64-ab12.efi";
    let first = entry(name, b"image", "dev", at(0));
    assert_eq!(upload(&catalog, first.clone(), b"image").unwrap(), Uploaded::New);
    assert!(catalog.reindex(at(1)).unwrap().changed);
    assert!(
        server
            .directory()
            .join("flists/mos_builder/kernel")
            .join(name)
            .is_file()
    );
    let index = index(&*store);
    assert_eq!(
        (&index["kernels"][0], &index["count"]),
        (&Value::from(name), &Value::from(1))
    );
    assert_eq!(index["updated"], at(1).to_string());
    let image = &index["images"][0];
    assert_eq!((&image["environment"], &image["release"]), (&"dev".into(), &"7".into()));
    assert_eq!(
        (&image["size"], &image["sha256"]),
        (&5.into(), &first.sha256.clone().into())
    );
    assert_eq!(text(&*store), format!("{name}\n"));

    let second = upload(&catalog, entry(name, b"image", "other", at(9)), b"image").unwrap();
    assert_eq!(second, Uploaded::Already(first));
    assert!(!catalog.reindex(at(9)).unwrap().changed);
    let refused = upload(&catalog, entry(name, b"other", "dev", at(9)), b"other").unwrap_err();
    assert!(matches!(refused, CatalogError::Differs { .. }), "{refused}");
    assert_eq!(store.get(&format!("kernel/{name}"), LIMIT).unwrap(), b"image");
}

#[test]
fn of_many_uploads_at_once_none_is_lost() {
    const UPLOADERS: usize = 6;
    let server = S3Server::start();
    let start = Barrier::new(UPLOADERS);
    thread::scope(|scope| {
        for number in 0..UPLOADERS {
            let (url, start) = (server.url(), &start);
            scope.spawn(move || {
                let store = open_write(&url).unwrap();
                let catalog = Catalog::new(&*store, "kernel");
                start.wait();
                for turn in 0..3 {
                    let name = format!("vmlinuz-{number}-{turn}.efi");
                    let entry = entry(&name, name.as_bytes(), "dev", at(turn));
                    upload(&catalog, entry, name.as_bytes()).unwrap();
                    catalog.reindex(at(turn)).unwrap();
                }
            });
        }
    });
    let store = open_write(&server.url()).unwrap();
    let index = index(&*store);
    assert_eq!(index["count"], UPLOADERS * 3);
    assert_eq!(text(&*store).lines().count(), UPLOADERS * 3);
    let images = index["images"].as_array().unwrap();
    assert!(images.iter().all(|image| image["sha256"].is_string()), "{index}");
}

#[test]
fn images_of_another_program_are_in_the_index_and_a_damaged_one_is_mended() {
    let server = S3Server::start();
    let store = open_write(&server.url()).unwrap();
    let catalog = Catalog::new(&*store, "kernel");
    let name = "vmlinuz-6.12.44-MyceliumOS-abc1234.efi";
    store.put(&format!("kernel/{name}"), b"theirs").unwrap();
    store
        .put("kernel/kernels.json", b"{\"kernels\": [\"gone.efi\"")
        .unwrap();
    store.put("kernel/README", b"no image").unwrap();
    assert_eq!(catalog.reindex(at(0)).unwrap().images, 1);
    let found = index(&*store);
    assert_eq!(found["kernels"], serde_json::json!([name]));
    assert_eq!(
        (&found["images"][0]["size"], &found["images"][0]["sha256"]),
        (&6.into(), &Value::Null)
    );
    assert!(found["images"][0]["uploaded"].is_string(), "{found}");

    let refused = upload(&catalog, entry(name, b"others", "dev", at(0)), b"others").unwrap_err();
    assert!(matches!(refused, CatalogError::Differs { .. }), "{refused}");
    let ours = entry(name, b"theirs", "dev", at(0));
    assert_eq!(
        upload(&catalog, ours.clone(), b"theirs").unwrap(),
        Uploaded::Already(ours)
    );
    store.put(&format!("kernel/entries/{name}.json"), b"rubbish").unwrap();
    assert_eq!(catalog.images().unwrap()[0].sha256, None);
}

#[test]
fn an_upload_that_was_killed_is_no_image_and_goes_on() {
    let server = S3Server::start();
    let store = open_write(&server.url()).unwrap();
    let catalog = Catalog::new(&*store, "kernel");
    let killed = entry("vmlinuz-1.efi", b"image", "dev", at(0));
    upload(&catalog, killed.clone(), b"image").unwrap();
    store.delete("kernel/vmlinuz-1.efi").unwrap();
    assert_eq!(catalog.images().unwrap(), []);
    // The bucket's clock is the real one: the entry was written just now.
    let now = Timestamp::now();
    let day = jiff::SignedDuration::from_hours(25);
    assert!(catalog.plan_prune(NonZeroUsize::MIN, now).unwrap().is_empty());
    let later = catalog.plan_prune(NonZeroUsize::MIN, now + day).unwrap();
    assert_eq!(later.orphans, ["vmlinuz-1.efi"]);
    assert_eq!(upload(&catalog, killed, b"image").unwrap(), Uploaded::New);
    assert_eq!(catalog.images().unwrap().len(), 1);
}

#[test]
fn a_clean_up_removes_what_was_planned_and_the_index_follows() {
    let server = S3Server::start();
    let store = open_write(&server.url()).unwrap();
    let catalog = Catalog::new(&*store, "kernel");
    for (number, environment) in ["dev", "dev", "dev", "production"].into_iter().enumerate() {
        let name = format!("vmlinuz-{number}.efi");
        let entry = entry(&name, b"image", environment, at(number as i64));
        upload(&catalog, entry, b"image").unwrap();
    }
    catalog.reindex(at(9)).unwrap();
    let plan = catalog.plan_prune(NonZeroUsize::MIN, at(9)).unwrap();
    let gone: Vec<_> = plan.delete.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(gone, ["vmlinuz-1.efi", "vmlinuz-0.efi"]);
    // Another upload between plan and clean-up stays.
    upload(&catalog, entry("vmlinuz-9.efi", b"new", "dev", at(8)), b"new").unwrap();
    assert_eq!(catalog.prune(&plan, at(10)).unwrap().images, 3);
    assert_eq!(text(&*store), "vmlinuz-2.efi\nvmlinuz-3.efi\nvmlinuz-9.efi\n");
    assert_eq!(store.list("kernel/entries/").unwrap().len(), 3);
    assert!(
        catalog
            .plan_prune(NonZeroUsize::new(2).unwrap(), at(10))
            .unwrap()
            .is_empty()
    );
}
