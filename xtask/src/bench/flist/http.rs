//! A start from a store that is 20 ms away: with a list of what a start reads, it should cost little more than moving
//! the bytes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mos_serve::Server;

use super::super::{Row, median};
use super::link::{LATENCY, Link, RATE};
use super::mounted::{Mounted, Serves, Stage, Way, drop_caches};
use super::peers::Format;
use super::row;
use super::run::shell;
use super::work::{files, read, start};

/// Runs of each side.
const RUNS: usize = 3;

/// What a run moved, and how long it took.
struct Moved {
    bytes: u64,
    time: Duration,
}

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, String> {
    if let Err(error) = drop_caches() {
        println!("SKIPPED: a start over HTTP: {error}; only root can empty the caches");
        return Ok(Vec::new());
    }
    let server = serve(stage)?;
    let link = Link::to(server.address()).map_err(text)?;
    let paths = start(&files(&stage.corpus.old)?);
    let list = learn(stage, &paths)?;
    let (mut without, mut with, mut pure) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..RUNS {
        without.push(once(stage, &link, &paths, None)?.time);
        let moved = once(stage, &link, &paths, Some(&list))?;
        pure.push(transfer(stage, &link, moved.bytes)?);
        with.push(moved.time);
        bytes = moved.bytes;
    }
    let without = median(without);
    println!(
        "start of 300 files over HTTP, {} ms, {} Mbit/s: {:.0} ms without a list; with it {:.2} MB are moved",
        LATENCY.as_millis(),
        RATE * 8 / 1_000_000,
        without,
        bytes as f64 / 1e6,
    );
    let mut rows = vec![row(
        "HTTP: start with a list / pure transfer",
        (median(pure), median(with)),
        "ms",
        1.3,
    )];
    match rfs(stage, &paths) {
        Ok(Some(rfs)) => rows.push(row("HTTP: start without a list / rfs", (rfs, without), "ms", 0.2)),
        Ok(None) => {}
        Err(why) => println!("rfs over HTTP: left out: {why}"),
    }
    Ok(rows)
}

/// The same start by rfs, from the same distance; none when it is not here.
fn rfs(stage: &Stage<'_>, paths: &[PathBuf]) -> Result<Option<f64>, String> {
    if stage.present(&[Way::Rfs]).is_empty() {
        return Ok(None);
    }
    let folder = stage.packed(Format::Rfs).ok_or("nothing to mount")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::bind(address, &folder.join("blobs"), Arc::new(|_| {})).map_err(|error| error.to_string())?;
    let link = Link::to(server.address()).map_err(text)?;
    let line = format!("$1 flist route $2 --set http://{}", link.address());
    shell(&line, &[&stage.mos(), &folder.join("image")], &folder)?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        drop_caches()?;
        let begin = Instant::now();
        let mounted = stage.mount(Way::Rfs)?;
        read(&mounted.directory, paths)?;
        times.push(begin.elapsed());
    }
    Ok(Some(median(times)))
}

/// The stage's store behind our own web server. A file of zeros lies beside the blobs, to be moved by itself.
fn serve(stage: &Stage<'_>) -> Result<Server, String> {
    let zeros = File::create(stage.place("store").join("zeros")).map_err(text)?;
    zeros.set_len(1 << 30).map_err(text)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Server::bind(address, &stage.place("store"), Arc::new(|_| {})).map_err(|error| error.to_string())
}

/// Which files a start reads, as the mount itself writes them down.
fn learn(stage: &Stage<'_>, paths: &[PathBuf]) -> Result<PathBuf, String> {
    let list = stage.place("start.list");
    let mut command = stage.myfs(&stage.store(), &["--how", "fuse", "--trace-to"]);
    command.arg(&list);
    let mounted = Mounted::start(&mut command, Serves::Program, stage.place("mount"))?;
    read(&mounted.directory, paths)?;
    Ok(list)
}

/// A start with nothing local; mounting counts, because that is when fetching ahead begins.
fn once(stage: &Stage<'_>, link: &Link, paths: &[PathBuf], list: Option<&PathBuf>) -> Result<Moved, String> {
    let cache = stage.place("http-cache");
    let _ = fs::remove_dir_all(&cache);
    fs::create_dir(&cache).map_err(text)?;
    let url = format!("http://{}", link.address());
    let mut command = stage.myfs(&url, &["--how", "fuse", "--cache"]);
    command.arg(&cache);
    if let Some(list) = list {
        command.arg("--prefetch").arg(list);
    }
    drop_caches()?;
    let (before, begin) = (link.passed(), Instant::now());
    let mounted = Mounted::start(&mut command, Serves::Program, stage.place("mount"))?;
    read(&mounted.directory, paths)?;
    Ok(Moved {
        time: begin.elapsed(),
        bytes: link.passed() - before,
    })
}

/// How long as many bytes take by themselves: one request on a new connection.
fn transfer(stage: &Stage<'_>, link: &Link, bytes: u64) -> Result<Duration, String> {
    let last = bytes.max(1) - 1;
    let begin = Instant::now();
    let mut stream = TcpStream::connect(link.address()).map_err(text)?;
    let request = format!("GET /zeros HTTP/1.1\r\nHost: x\r\nRange: bytes=0-{last}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let moved = io::copy(&mut stream, &mut io::sink()).map_err(text)?;
    match moved >= bytes {
        true => Ok(begin.elapsed()),
        false => Err(format!(
            "{} serves {moved} bytes of {bytes}",
            stage.place("store").display()
        )),
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}
