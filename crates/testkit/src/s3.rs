//! A real S3 server: s3s-fs, in a thread of the test.

use hyper_util::rt::TokioIo;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpRequest, HttpResponse, S3Result, s3_error};
use s3s_fs::FileSystem;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use tempfile::TempDir;
use tokio::sync::oneshot;

const BUCKET: &str = "bucket";
const KEY: &str = "TESTKEY";
const READ_ONLY_KEY: &str = "READKEY";
const SECRET: &str = "test+secret";

/// An S3 server on `127.0.0.1` with one empty bucket; stops when dropped.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    directory: TempDir,
    requests: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts it.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join(BUCKET)).expect("a bucket");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let service = service(&directory, &requests);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || run(listener, &service, stopped));
        Self {
            address,
            directory,
            requests,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The URL of the bucket, with a key that may read and write.
    pub fn url(&self) -> String {
        self.url_for(KEY, SECRET)
    }

    /// The URL of the bucket, with a key that may only read.
    pub fn read_only_url(&self) -> String {
        self.url_for(READ_ONLY_KEY, SECRET)
    }

    /// The URL of the bucket, with any key and secret.
    pub fn url_for(&self, key: &str, secret: &str) -> String {
        format!("s3://{key}:{secret}@{}/{BUCKET}", self.address)
    }

    /// How many signed requests have come so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory that holds the bucket's files.
    pub fn directory(&self) -> std::path::PathBuf {
        self.directory.path().join(BUCKET)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // Both fail only when the thread has ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Counts requests, and refuses whatever is not reading to the read-only key.
struct Access(Arc<AtomicUsize>);

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let operation = context.s3_op().name();
        let reads = ["Get", "Head", "List"].iter().any(|verb| operation.starts_with(verb));
        match context.credentials() {
            Some(credentials) if reads || credentials.access_key != READ_ONLY_KEY => Ok(()),
            _ => Err(s3_error!(AccessDenied, "Access Denied")),
        }
    }
}

fn service(directory: &TempDir, requests: &Arc<AtomicUsize>) -> S3Service {
    let files = FileSystem::new(directory.path()).expect("a directory that exists");
    let mut builder = S3ServiceBuilder::new(files);
    let mut keys = SimpleAuth::from_single(KEY, SECRET);
    keys.register(READ_ONLY_KEY.into(), SECRET.into());
    builder.set_auth(keys);
    builder.set_access(Access(Arc::clone(requests)));
    builder.build()
}

fn run(listener: TcpListener, service: &S3Service, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    listener.set_nonblocking(true).expect("a socket that need not wait");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket within a runtime");
        tokio::select! {
            () = serve(&listener, service) => {}
            _ = stopped => {}
        }
    });
}

async fn serve(listener: &tokio::net::TcpListener, service: &S3Service) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        let service = hyper::service::service_fn(move |request| answer(service.clone(), request));
        // A client that goes away is no failure of the server.
        tokio::spawn(async move {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok()
        });
    }
}

/// Answers as the server does, but with the names of a listing encoded when they are asked for so: s3s-fs says that they are,
/// and leaves them as they are.
async fn answer(service: S3Service, request: hyper::Request<hyper::body::Incoming>) -> Result<HttpResponse, HttpError> {
    let encoded = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("encoding-type=url"));
    let mut response = service.call(HttpRequest::from(request.map(Body::from))).await?;
    if encoded && let Ok(listing) = response.body_mut().store_all_limited(MAX_LISTING).await {
        let listing = encode_names(&String::from_utf8_lossy(&listing));
        response.headers_mut().remove(hyper::header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(listing);
    }
    Ok(response)
}

/// Bytes of the longest page of a listing.
const MAX_LISTING: usize = 16 << 20;

/// Encodes what clients decode; other characters they take as they are.
fn encode_names(listing: &str) -> String {
    let mut parts = listing.split("<Key>");
    let head = parts.next().unwrap_or_default().to_owned();
    parts.fold(head, |text, part| {
        let (name, rest) = part.split_once("</Key>").unwrap_or((part, ""));
        let name = name.replace('%', "%25").replace('+', "%2B");
        format!("{text}<Key>{name}</Key>{rest}")
    })
}
