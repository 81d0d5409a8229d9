//! `mos image upload` and `mos kernels`, with a real bucket: the walk that the README of mos_builder takes.

use std::fs;

use expect_test::expect;
use mos_testkit::S3Server;
use serde_json::Value;

use crate::support::System;
use crate::transcript::transcript;

/// Seconds since 1970.
const NOW: &str = "1795000000";

/// A system, and a bucket that its config/rfs.conf names as that of mos_builder does.
struct Shop {
    system: System,
    server: S3Server,
}

impl Shop {
    fn new() -> Self {
        let shop = Self {
            system: System::new(&[]),
            server: S3Server::start(),
        };
        let conf = format!(
            "S3_ENDPOINT=\"http://{}\"\nS3_REGION=\"us-east-1\"\nS3_BUCKET=\"bucket\"\nS3_PREFIX=\"flists/mos_builder\"\n\
             S3_ACCESS_KEY=\"TESTKEY\"\nS3_SECRET_KEY=\"test+secret\"\n",
            shop.server.address()
        );
        shop.system.write("config/rfs.conf", &conf);
        shop
    }

    /// What a run says, `now` seconds after the first.
    fn says(&self, now: u32, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let mut command = self.system.command(arguments);
        let now = NOW.parse::<u32>().unwrap() + now;
        command.env("SOURCE_DATE_EPOCH", now.to_string());
        command.envs(variables.iter().copied());
        let text = transcript(&mut command, self.system.folder());
        let text = text.replace(&self.server.address().to_string(), "[SERVER]");
        // The kernel's version is that of the day.
        let words = text
            .split_inclusive([' ', '/', '\n'])
            .map(|word| match word.find("vmlinuz-") {
                Some(at) if word.contains(".efi") => {
                    let end = word.find(".efi").unwrap_or_default();
                    format!("{}[IMAGE]{}", &word[..at], &word[end + 4..])
                }
                _ => word.to_owned(),
            });
        words.collect()
    }

    /// An index in the bucket.
    fn index(&self, folder: &str) -> Value {
        let folder = self.server.directory().join("flists/mos_builder").join(folder);
        let index: Value = serde_json::from_slice(&fs::read(folder.join("kernels.json")).unwrap()).unwrap();
        let text = fs::read_to_string(folder.join("kernels.txt")).unwrap();
        let names: Vec<Value> = text.lines().map(Value::from).collect();
        assert_eq!(index["kernels"], Value::from(names));
        index
    }
}

#[test]
fn seed_001_kernels_are_uploaded_after_a_build() {
    let shop = Shop::new();
    let upload = [("UPLOAD_KERNEL", "true")];
    shop.says(0, &["image", "build", "--env", "dev"], &[("UPLOAD_KERNEL", "false")]);
    assert!(!shop.server.directory().join("flists").exists());
    let text = shop.says(0, &["build", "--env", "dev"], &upload);
    expect![[r#"
        ! boot image: nothing changed
        ! Uploaded s3://[SERVER]/bucket/flists/mos_builder/kernel/[IMAGE], [SIZE].
        ! Nothing changed: nothing was built.
    "#]]
    .assert_eq(&text);
    let index = shop.index("kernel");
    let name = index["kernels"][0].as_str().unwrap();
    assert!(name.starts_with("vmlinuz-6.12.") && name.ends_with(".efi"), "{name}");
    assert_eq!(
        (&index["count"], &index["updated"]),
        (&1.into(), &"2026-11-18T11:06:40Z".into())
    );
    assert_eq!(index["images"][0]["environment"], "dev");
    let again = shop.says(60, &["image", "build", "--env", "dev", "--output", "efi"], &upload);
    assert!(
        again.contains("! s3://[SERVER]/bucket/flists/mos_builder/kernel/[IMAGE] is there since 2026-11-18T11:06:40Z"),
        "{again}"
    );
    assert_eq!(shop.index("kernel")["updated"], "2026-11-18T11:06:40Z");

    let elsewhere = [("UPLOAD_KERNEL", "true"), ("KERNEL_SUBPATH", "kernels")];
    shop.says(0, &["image", "build", "--env", "dev"], &elsewhere);
    assert_eq!(shop.index("kernels")["kernels"], index["kernels"]);
    let wrong = shop.says(0, &["image", "build", "--env", "dev"], &[("UPLOAD_KERNEL", "maybe")]);
    assert!(
        wrong.contains("UPLOAD_KERNEL is `maybe`: write true or false") && wrong.ends_with("[exit 2]\n"),
        "{wrong}"
    );
}

#[test]
fn images_are_listed_and_old_ones_cleaned_up() {
    let shop = Shop::new();
    shop.says(0, &["image", "build", "--env", "dev"], &[]);
    let file = shop.system.repository().join("dist/vmlinuz.efi");
    let upload = |now, arguments: &[&str]| {
        let file = file.to_str().unwrap();
        shop.says(now, &[&["image", "upload", file], arguments].concat(), &[])
    };
    for (now, release) in [(0, "1"), (60, "2"), (120, "3")] {
        let name = format!("vmlinuz-test-{release}.efi");
        upload(now, &["--env", "dev", "--release", release, "--name", &name]);
    }
    upload(180, &[]);
    expect![[r#"
        IMAGE  SIZE  UPLOADED  ENVIRONMENT  RELEASE
        [IMAGE]  [SIZE]  2026-11-18T11:09:40Z  -  -
        [IMAGE]  [SIZE]  2026-11-18T11:08:40Z  dev  3
        [IMAGE]  [SIZE]  2026-11-18T11:07:40Z  dev  2
        [IMAGE]  [SIZE]  2026-11-18T11:06:40Z  dev  1
    "#]]
    .assert_eq(&shop.says(0, &["kernels", "list"], &[]));
    expect![[r#"
        delete [IMAGE]  [SIZE]  2026-11-18T11:07:40Z  dev  2
        delete [IMAGE]  [SIZE]  2026-11-18T11:06:40Z  dev  1
        ! Nothing was deleted: 2 images, [SIZE] would go with --yes; 2 images stay.
    "#]]
    .assert_eq(&shop.says(0, &["kernels", "clean", "--keep", "1"], &[]));
    assert_eq!(shop.index("kernel")["count"], 4);
    shop.says(0, &["kernels", "clean", "--keep", "1", "--yes"], &[]);
    let left = shop.index("kernel");
    assert_eq!(
        (&left["count"], &left["kernels"][1]),
        (&2.into(), &"vmlinuz-test-3.efi".into())
    );

    let folder = shop.server.directory().join("flists/mos_builder/kernel");
    fs::remove_file(folder.join("kernels.txt")).unwrap();
    expect![[r#"
        ! Wrote the index of 2 images.
    "#]]
    .assert_eq(&shop.says(0, &["kernels", "index"], &[]));
    fs::write(&file, b"MZ").unwrap();
    let refused = upload(0, &["--name", "vmlinuz-test-3.efi"]);
    assert!(refused.ends_with("[exit 1]\n"), "{refused}");
}

#[test]
fn a_web_server_is_asked_for_its_index() {
    let shop = Shop::new();
    let folder = shop.system.folder().join("www");
    fs::create_dir_all(folder.join("kernel")).unwrap();
    let image = "vmlinuz-6.12.44-MyceliumOS-abc1234.efi";
    fs::write(folder.join("kernel").join(image), b"image").unwrap();
    let index = format!(r#"{{"kernels": ["{image}"], "updated": "2025-01-04T12:00:00Z", "count": 1}}"#);
    fs::write(folder.join("kernel/kernels.json"), index).unwrap();
    let server = mos_testkit::HttpServer::serve(&folder);
    let list = ["kernels", "list", "--json", "--from", &server.url()];
    let images: Value = serde_json::from_slice(&shop.system.mos(&list).stdout).unwrap();
    assert_eq!(images, serde_json::json!([{"name": image, "size": 5}]));
    let refused = shop.says(0, &["kernels", "index", "--to", &server.url()], &[]);
    assert!(refused.contains("a web server can only be read"), "{refused}");
}
