//! An HTTP server on loopback that answers as a test tells it to, however wrong that is, and remembers what it was asked.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a connection may be idle, which only ends what a test left behind.
const IDLE: Duration = Duration::from_secs(60);

/// A server that is running until it is dropped.
pub struct Hostile {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A request, as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, for one.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
    /// The number of the connection that it came by, from 0.
    pub connection: usize,
    /// Whether the client showed a certificate.
    pub certified: bool,
    /// How many requests with the same method and target came before.
    pub before: usize,
}

/// What the server does about a request.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

/// How a body is sent.
#[derive(Debug, Clone)]
enum Body {
    /// As it should be.
    Whole(Vec<u8>),
    /// With a Content-Length that it does not have.
    Lying { said: usize, sent: Vec<u8> },
    /// In chunks, the same for ever.
    Endless(Vec<u8>),
    /// With the right Content-Length and a pause before each byte.
    Slow(Vec<u8>, Duration),
    /// These bytes, instead of any HTTP, and the end of the connection.
    Raw(Vec<u8>),
    /// Header after header, for ever.
    Headers,
    /// A reset of the connection.
    Reset,
    /// Nothing, until the client goes away.
    Silence,
    /// A tunnel to there, as a proxy makes for CONNECT.
    Tunnel(SocketAddr),
}

struct Shared {
    script: Box<dyn Fn(&Request) -> Answer + Send + Sync>,
    tls: Option<Arc<ServerConfig>>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    over: AtomicBool,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Answer {
    fn with(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// A status and nothing more.
    pub fn status(status: u16) -> Self {
        Self::with(status, Body::Whole(Vec::new()))
    }

    /// 200 and this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::with(200, Body::Whole(body.into()))
    }

    /// A redirect.
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::status(status).header("Location", location)
    }

    /// 200 and this body, said to be of another length.
    pub fn lying(said: usize, sent: impl Into<Vec<u8>>) -> Self {
        Self::with(200, Body::Lying { said, sent: sent.into() })
    }

    /// 200 and these bytes again and again.
    pub fn endless(chunk: impl Into<Vec<u8>>) -> Self {
        Self::with(200, Body::Endless(chunk.into()))
    }

    /// 200 and this body, with a pause before each byte.
    pub fn slow(body: impl Into<Vec<u8>>, pause: Duration) -> Self {
        Self::with(200, Body::Slow(body.into(), pause))
    }

    /// These bytes instead of a response.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::with(200, Body::Raw(bytes.into()))
    }

    /// 200 and headers that do not end.
    pub fn headers() -> Self {
        Self::with(200, Body::Headers)
    }

    /// A reset of the connection.
    pub fn reset() -> Self {
        Self::with(200, Body::Reset)
    }

    /// No answer, with the connection left open.
    pub fn silence() -> Self {
        Self::with(200, Body::Silence)
    }

    /// 200 and a tunnel to there.
    pub fn tunnel(to: SocketAddr) -> Self {
        Self::with(200, Body::Tunnel(to))
    }

    /// With this status instead.
    pub fn but(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With this header, too.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl Hostile {
    /// Serves plain HTTP on 127.0.0.1.
    pub fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(None, script)
    }

    /// Serves HTTP/1.1 over TLS on 127.0.0.1.
    pub fn start_tls(tls: Arc<ServerConfig>, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(Some(tls), script)
    }

    fn serve(tls: Option<Arc<ServerConfig>>, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("a listener's address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            tls,
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.over.load(Ordering::SeqCst) {
                    return;
                }
                let served = Arc::clone(&served);
                let number = served.connections.fetch_add(1, Ordering::SeqCst);
                // A client that goes away is no error here.
                thread::spawn(move || drop(served.connection(stream, number)));
            }
        });
        Self { address, shared }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it was asked, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener. If that fails, it has ended.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self, tcp: TcpStream, number: usize) -> io::Result<()> {
        tcp.set_read_timeout(Some(IDLE))?;
        tcp.set_write_timeout(Some(IDLE))?;
        tcp.set_nodelay(true)?;
        let raw = tcp.try_clone()?;
        match &self.tls {
            None => self.talk(BufReader::new(tcp), &raw, number, |_| false),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                let stream = BufReader::new(StreamOwned::new(connection, tcp));
                self.talk(stream, &raw, number, |stream| stream.conn.peer_certificates().is_some())
            }
        }
    }

    fn talk<S: Read + Write>(&self, mut stream: BufReader<S>, raw: &TcpStream, number: usize, certified: fn(&S) -> bool) -> io::Result<()> {
        loop {
            let mut request = match read(&mut stream) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                // Somebody speaks TLS to us, which servers without it answer so.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    Answer::raw("HTTP/1.1 400 Bad Request\r\n\r\n").send(&Request::default(), stream.get_mut(), raw)?;
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            request.connection = number;
            request.certified = certified(stream.get_ref());
            {
                let mut requests = self.requests();
                request.before = requests.iter().filter(|one| one.method == request.method && one.target == request.target).count();
                requests.push(request.clone());
            }
            let answer = (self.script)(&request);
            if !answer.send(&request, stream.get_mut(), raw)? {
                return Ok(());
            }
        }
    }
}

impl Answer {
    /// Whether the connection can be used again.
    fn send(self, request: &Request, to: &mut impl Write, raw: &TcpStream) -> io::Result<bool> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut sized = |length: usize| to.write_all(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes());
        match self.body {
            Body::Whole(body) => {
                sized(body.len())?;
                if request.method != "HEAD" {
                    to.write_all(&body)?;
                }
                to.flush()?;
                return Ok(true);
            }
            Body::Lying { said, sent } => {
                sized(said)?;
                to.write_all(&sent)?;
                to.flush()?;
                // What is short of what was said never comes.
                if sent.len() < said {
                    wait_for_end(raw)?;
                }
            }
            Body::Endless(chunk) => {
                to.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
                loop {
                    to.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                    to.write_all(&chunk)?;
                    to.write_all(b"\r\n")?;
                }
            }
            Body::Slow(body, pause) => {
                sized(body.len())?;
                for byte in body {
                    to.flush()?;
                    thread::sleep(pause);
                    to.write_all(&[byte])?;
                }
                to.flush()?;
                return Ok(true);
            }
            Body::Raw(bytes) => {
                to.write_all(&bytes)?;
                to.flush()?;
            }
            Body::Headers => {
                to.write_all(head.as_bytes())?;
                loop {
                    to.write_all(format!("X: {}\r\n", "x".repeat(1000)).as_bytes())?;
                }
            }
            Body::Reset => socket2::SockRef::from(raw).set_linger(Some(Duration::ZERO))?,
            Body::Silence => wait_for_end(raw)?,
            Body::Tunnel(address) => {
                to.write_all(format!("{head}\r\n").as_bytes())?;
                let far = TcpStream::connect(address)?;
                let (mut from, mut back) = (raw.try_clone()?, far.try_clone()?);
                let (mut onward, mut near) = (far, raw.try_clone()?);
                thread::spawn(move || {
                    let copied = io::copy(&mut back, &mut near);
                    // Both ends have gone by now, or will.
                    let _ = near.shutdown(Shutdown::Both);
                    copied
                });
                io::copy(&mut from, &mut onward)?;
                onward.shutdown(Shutdown::Both)?;
            }
        }
        Ok(false)
    }
}

/// The next request; nothing at the end of the connection.
fn read(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(ToOwned::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, target, headers, ..Request::default() };
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    from.take(length).read_to_string(&mut request.body)?;
    Ok(Some(request))
}

/// Waits until the client goes away, also through a halt of this process, which interrupts reads (signal(7)).
fn wait_for_end(mut raw: &TcpStream) -> io::Result<()> {
    io::copy(&mut raw, &mut io::sink()).map(drop)
}
