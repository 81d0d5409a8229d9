//! The older format: where its blocks are, packing it, and what its errors mean to a person.

use std::path::PathBuf;
use std::sync::Arc;

use mos_flist::Done;
use mos_rfs::{
    Conf, FileError, PackError, PackOptions, Packed, Rfs, RfsError, Route, RouteError, Stores, Targets, pack, warning,
};
use mos_store::Options;
use mos_tree::Tree;

use super::open::store_failed;
use crate::context::Context;
use crate::error::{CliError, Result, io, system};
use crate::stores::StoreArgs;

/// Where the older builders keep their settings, below the config repository.
const CONFS: [&str; 2] = ["config/rfs.conf", "config/myfs.conf"];

/// The stores that the blocks of an flist are read from: those that are given, else those that it names itself.
pub(crate) fn stores(args: &StoreArgs, rfs: &Rfs) -> Result<Stores> {
    let given = match rfs.routes().is_empty() {
        true => args.given()?,
        false => args.options()?,
    };
    stores_of(&given, rfs)
}

/// These stores, else those that the flist names itself.
pub(crate) fn stores_of(given: &[String], rfs: &Rfs) -> Result<Stores> {
    let routes = match given.is_empty() {
        true => rfs.routes().to_vec(),
        false => parse(given)?,
    };
    if routes.is_empty() {
        return Err(
            CliError::usage("the flist names no store").with_hint("add --store URL, or `mos flist route F --set URL`")
        );
    }
    Stores::open(&routes, &Options::default()).map_err(route_error)
}

/// Where a packer puts blocks, and what it writes into the flist.
struct Places {
    targets: Vec<Route>,
    /// Other routes than those to the targets.
    routes: Option<Vec<Route>>,
}

/// Packs a tree; `done` is told of it. What the format cannot hold is told with the result.
pub(crate) fn pack_tree(
    context: &Context,
    stores: &StoreArgs,
    tree: &Tree,
    strip_password: bool,
    done: Arc<Done>,
) -> Result<Packed> {
    let places = places(context, stores)?;
    let targets = Targets::open(&places.targets, &Options::default()).map_err(route_error)?;
    let options = PackOptions {
        strip_password,
        done,
        ..PackOptions::default()
    };
    let mut packed = pack(tree, &targets, &options).map_err(pack_error)?;
    if let Some(routes) = places.routes {
        packed.rfs.set_routes(routes);
    }
    let warnings = packed.rfs.routes().iter().filter_map(warning);
    warnings.for_each(|warning| context.ui.line(format!("warning: {warning}")));
    Ok(packed)
}

/// `--store`, `MOS_STORE`, the settings of an older builder, and at last `stores.default` of mos.toml.
fn places(context: &Context, stores: &StoreArgs) -> Result<Places> {
    let given = stores.given()?;
    if !given.is_empty() {
        return Ok(Places {
            targets: parse(&given)?,
            routes: None,
        });
    }
    if let Some((target, conf)) = conf(context)? {
        return Ok(Places {
            targets: vec![target],
            routes: Some(conf.route().into_iter().collect()),
        });
    }
    Ok(Places {
        targets: parse(&[stores.url(context)?])?,
        routes: None,
    })
}

/// The settings of an older builder, if there are any, and the store that they put content into.
pub(crate) fn conf(context: &Context) -> Result<Option<(Route, Conf)>> {
    let Some((name, conf)) = read_conf(context)? else {
        return Ok(None);
    };
    let target = conf.store().ok_or_else(|| {
        CliError::problem(format!("{name}: no keys that may write"))
            .with_hint("set S3_ACCESS_KEY and S3_SECRET_KEY in it")
    })?;
    Ok(Some((target, conf)))
}

/// The route that the settings of an older builder give to flists.
pub(crate) fn conf_route(context: &Context) -> Result<Route> {
    let Some((name, conf)) = read_conf(context)? else {
        let message = format!("neither {} nor {} is there", CONFS[0], CONFS[1]);
        return Err(CliError::not_found(message).with_hint("stand in the config repository, or name it with --config"));
    };
    conf.route().ok_or_else(|| {
        CliError::problem(format!("{name}: no keys that may read"))
            .with_hint("set READ_ACCESS_KEY and READ_SECRET_KEY in it")
    })
}

/// The settings of an older builder, and the name of their file.
pub(crate) fn read_conf(context: &Context) -> Result<Option<(String, Conf)>> {
    let folder = context.config().unwrap_or_else(|_| PathBuf::from("."));
    let paths = CONFS.map(|name| folder.join(name));
    let Some(path) = paths.iter().find(|path| path.is_file()) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path).map_err(io(path))?;
    let name = path.display().to_string();
    let conf = Conf::parse(&name, &text).map_err(|error| CliError::problem(error.to_string()))?;
    Ok(Some((name, conf)))
}

/// Reads routes as they are typed.
pub(crate) fn parse(routes: &[String]) -> Result<Vec<Route>> {
    routes
        .iter()
        .map(|text| Route::parse(text).map_err(route_error))
        .collect()
}

/// A store of an flist of the older format.
pub(crate) fn route_error(error: RouteError) -> CliError {
    match error {
        RouteError::Store(error) => error.into(),
        other => CliError::usage(other.to_string()),
    }
}

/// The file itself.
pub(crate) fn file_error(error: FileError) -> CliError {
    let message = error.to_string();
    match error {
        FileError::Io { source, .. } => system(source.kind(), message),
        _ => CliError::problem(message),
    }
}

/// What is wrong with the bytes of a file that came from `place`.
pub(crate) fn rfs_error(error: &RfsError, place: &str) -> CliError {
    CliError::problem(format!("{place}: {error}"))
}

fn pack_error(error: PackError) -> CliError {
    let message = error.to_string();
    match error {
        PackError::Store(error) => store_failed(&error, message),
        PackError::Route(error) => route_error(error),
        PackError::Read { source, .. } => system(source.kind(), message),
        _ => CliError::problem(message),
    }
}
