//! The seeds' way: pack into a bucket with a key that may write, put a route with a key that may only read into the
//! flist, and read by nothing but the flist.

use std::sync::Arc;

use mos_rfs::{Conf, PackOptions, Reader, Rfs, Stores, Targets, edit, pack, warning};
use mos_store::Options;
use mos_testkit::S3Server;

use crate::common::sample;

/// The keys of `scheme://KEY:SECRET@…`.
fn keys(url: &str) -> (&str, &str) {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split_once('@').unwrap().0.split_once(':').unwrap()
}

fn conf(server: &S3Server) -> Conf {
    let (write, read) = (server.url(), server.read_only_url());
    let bucket = write.rsplit_once('/').unwrap().1.split('?').next().unwrap();
    let region = write.split_once("region=").map_or("us-east-1", |(_, region)| region);
    let text = format!(
        "S3_ENDPOINT=http://{}\nS3_BUCKET={bucket}\nS3_PREFIX=flists/web\nS3_REGION={region}\n\
         S3_ACCESS_KEY='{}'\nS3_SECRET_KEY='{}'\nREAD_ACCESS_KEY='{}'\nREAD_SECRET_KEY='{}'\n\
         ROUTE_PATH=/{bucket}/flists/web\nROUTE_REGION={region}\n",
        server.address(),
        keys(&write).0,
        keys(&write).1,
        keys(&read).0,
        keys(&read).1,
    );
    Conf::parse("config/rfs.conf", &text).unwrap()
}

#[test]
fn a_flist_with_a_route_to_a_bucket_is_all_that_a_reader_needs() {
    let server = S3Server::start();
    let conf = conf(&server);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.fl");
    let targets = Targets::open(&[conf.store().unwrap()], &Options::default()).unwrap();
    pack(&sample(), &targets, &PackOptions::default())
        .unwrap()
        .rfs
        .save(&path)
        .unwrap();
    let route = conf.route().unwrap();
    assert!(warning(&route).is_some());
    edit(&path, |rfs| rfs.set_routes(vec![route])).unwrap();

    let rfs = Rfs::open(&path).unwrap();
    // Flat below the prefix, as rfs names them.
    let object = server.directory().join("flists/web").join(rfs.blocks()[0].name());
    assert!(object.is_file(), "{}", object.display());
    let stores = Stores::open(rfs.routes(), &Options::default()).unwrap();
    let reader = Reader::new(Arc::new(rfs), stores);
    assert_eq!(mos_flist::to_tree(&reader).unwrap(), sample());

    // With the key that may only read, nothing can be packed.
    let targets = Targets::open(&[conf.route().unwrap()], &Options::default()).unwrap();
    let mut tree = sample();
    tree.insert_file("new", 0o644, "new").unwrap();
    let error = pack(&tree, &targets, &PackOptions::default()).unwrap_err().to_string();
    let url = conf.route().unwrap().url;
    assert!(error.contains("refused") && !error.contains(keys(&url).1), "{error}");
}
