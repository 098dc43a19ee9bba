//! What `/mutate` costs beside a bare TLS server that echoes the same bytes, and how much memory it takes as reviews go by.
//!
//! `cargo bench -p ashore --bench mutate`; how many reviews go by: `REVIEWS=100000` (default 1,000,000).

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The same as in the program: the bare server is to have no slower one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match args.get(1).map(String::as_str) {
        Some("echo") => runtime.block_on(echo(Path::new(&args[2]))),
        _ => runtime.block_on(measure()),
    }
}

/// The bare server: what any webhook in axum on rustls has to do at least.
async fn echo(dir: &Path) -> Result<()> {
    let chain = CertificateDer::pem_file_iter(dir.join("cert"))?.collect::<std::result::Result<_, _>>()?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(dir.join("key"))?)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let router = Router::new().route("/mutate", post(|body: Bytes| async { ([("content-type", "application/json")], body) }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listen={}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let stream = TokioIo::new(acceptor.accept(stream).await?);
            hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await?;
            Result::Ok(())
        });
    }
}

/// A server in a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::with_capacity(64 * 1024, child.stderr.take().ok_or("no standard error")?);
        let address = loop {
            let mut line = String::new();
            if log.read_line(&mut line)? == 0 {
                return Err("it ended before it served".into());
            }
            if let Some(address) = line.split_whitespace().find_map(|word| word.strip_prefix("listen=")) {
                break address.trim_matches('"').parse()?;
            }
        };
        // The log is read, and not looked at, as a container runtime does.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { child, address })
    }

    /// Resident memory in KiB.
    fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// CPU time in clock ticks (1/100 s on Linux).
    fn ticks(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn measure() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = TlsConnector::from(Arc::new(tls));

    let mut ashore = Command::new(env!("CARGO_BIN_EXE_ashore"));
    ashore.args(["serve", "--listen=127.0.0.1:0", "--cert"]).arg(&cert).arg("--key").arg(&key);
    let ashore = Server::start(&mut ashore)?;
    let bare = Server::start(Command::new(std::env::current_exe()?).arg("echo").arg(dir.path()))?;

    let review: serde_json::Value = serde_json::from_str(include_str!("../tests/serve/fixtures/review.json"))?;
    let body = review.to_string();
    let head = format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = Bytes::from(head + &body);
    let answer = answer(ashore.address, &tls, &request).await?;
    println!("a pod of 3 containers: {} bytes of review, {answer} bytes of answer; {CONNECTIONS} connections, TLS 1.3", body.len());

    let at_start = ashore.resident()?;
    let mut rates = [vec![], vec![]];
    let mut costs = [vec![], vec![]];
    for _ in 0..ROUNDS {
        for (index, server) in [&bare, &ashore].into_iter().enumerate() {
            let (ticks, began) = (server.ticks()?, Instant::now());
            let answered = load(server.address, &tls, &request, u64::MAX, ROUND).await?;
            rates[index].push(answered as f64 / began.elapsed().as_secs_f64());
            costs[index].push((server.ticks()? - ticks) as f64 * 10_000.0 / answered as f64);
        }
    }
    println!("load by this program's own loop, on the same processors (median of {ROUNDS} interleaved rounds of {ROUND:?})");
    let costs = costs.map(median);
    print(rates, Some(costs));
    if let Some(wrk) = Wrk::find(dir.path(), &body)? {
        let mut rates = [vec![], vec![]];
        for _ in 0..ROUNDS {
            for (index, server) in [&bare, &ashore].into_iter().enumerate() {
                rates[index].push(wrk.run(server.address)?);
            }
        }
        println!("load by wrk, on the same processors (median of {ROUNDS} interleaved rounds of {ROUND:?})");
        print(rates, None);
    } else {
        println!("no wrk on the PATH (Debian: wrk): its figures are left out");
    }
    drop(bare);

    let reviews: u64 = std::env::var("REVIEWS").ok().map_or(Ok(1_000_000), |text| text.parse())?;
    println!("resident after reviews:\n{:>10}  {at_start:6} KiB", 0);
    for done in 1..=10 {
        load(ashore.address, &tls, &request, reviews / 10, Duration::from_secs(3600)).await?;
        println!("{:>10}  {:6} KiB", reviews / 10 * done, ashore.resident()?);
    }
    Ok(())
}

/// The medians; the ratio is that of each round's ratio, since what else the machine does changes from round to round.
fn print(rates: [Vec<f64>; 2], costs: Option<[f64; 2]>) {
    let ratio = median(rates[0].iter().zip(&rates[1]).map(|(bare, ashore)| ashore / bare).collect());
    let [bare, ashore] = rates.map(median);
    let cost = |index: usize| costs.map_or_else(String::new, |costs| format!("  {:6.1} us of CPU each", costs[index]));
    println!("  bare    {bare:8.0} requests/s{}", cost(0));
    println!("  ashore  {ashore:8.0} requests/s{}", cost(1));
    println!("  ratio   {ratio:8.2}");
}

/// The load generator that everybody has (<https://github.com/wg/wrk>).
struct Wrk {
    script: PathBuf,
}

impl Wrk {
    fn find(dir: &Path, body: &str) -> Result<Option<Self>> {
        if Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return Ok(None);
        }
        let (file, script) = (dir.join("body"), dir.join("post.lua"));
        std::fs::write(&file, body)?;
        let lua = "wrk.method = \"POST\"\nwrk.headers[\"content-type\"] = \"application/json\"\n";
        std::fs::write(&script, format!("{lua}wrk.body = io.open({:?}):read(\"*a\")\n", file.display().to_string()))?;
        Ok(Some(Self { script }))
    }

    /// Requests per second.
    fn run(&self, address: SocketAddr) -> Result<f64> {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads=2", &format!("--connections={CONNECTIONS}"), &format!("--duration={}s", ROUND.as_secs())]);
        let output = wrk.arg("--script").arg(&self.script).arg(format!("https://{address}/mutate?timeout=5s")).output()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).ok_or("wrk says no rate")?;
        Ok(rate.trim().parse()?)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long an answer is, in bytes.
async fn answer(address: SocketAddr, tls: &TlsConnector, request: &Bytes) -> Result<usize> {
    let mut stream = tls.connect(ServerName::try_from("localhost")?, TcpStream::connect(address).await?).await?;
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while !whole(&answer)? {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("an answer broke off".into());
        }
    }
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or("no head")?;
    Ok(answer.len() - head - 4)
}

/// Sends `most` requests, or for as long as this, and returns how many were answered.
async fn load(address: SocketAddr, tls: &TlsConnector, request: &Bytes, most: u64, time: Duration) -> Result<u64> {
    let (sent, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let end = Instant::now() + time;
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (tls, request, sent, answered) = (tls.clone(), request.clone(), Arc::clone(&sent), Arc::clone(&answered));
            tokio::spawn(async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let mut stream = tls.connect(ServerName::try_from("localhost")?, tcp).await?;
                let mut buffer = vec![0; 64 * 1024];
                while Instant::now() < end && sent.fetch_add(1, Relaxed) < most {
                    stream.write_all(&request).await?;
                    stream.flush().await?;
                    let mut length = 0;
                    while !whole(&buffer[..length])? {
                        match stream.read(&mut buffer[length..]).await? {
                            0 => return Err("an answer broke off".into()),
                            read => length += read,
                        }
                    }
                    answered.fetch_add(1, Relaxed);
                }
                Result::Ok(())
            })
        })
        .collect();
    for client in clients {
        client.await??;
    }
    Ok(answered.load(Relaxed))
}

/// Whether the answer is there whole; an error if it is not the one that is expected.
fn whole(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(&answer[..end])?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("not 200: {head}").into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("no length")?;
    Ok(answer.len() == end + 4 + length.parse::<usize>()?)
}
