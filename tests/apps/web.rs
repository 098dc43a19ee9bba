//! Web servers with a request in flight.

use crate::support::{GRACE, SlowRequest, backend, connect, stop, ways};
use ashore_tests::harness::{eventually, is_root};
use ashore_tests::under::{SOON, under_init};
use ashore_tests::{Folder, Outcome, Running, paths};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

pub(crate) fn nginx_finishes_a_request() -> Outcome {
    ways("nginx", "QUIT", libc::SIGQUIT).into_iter().try_for_each(|(flags, signal)| nginx(&flags, signal))
}

fn nginx(flags: &str, signal: i32) -> Outcome {
    let nginx = paths::need("nginx", "nginx")?;
    let folder = Folder::new();
    let user = if is_root() { "user root;" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {{dir}}/{kind};")).join(" ");
    let config = format!(
        "daemon off; worker_processes 2; pid {{dir}}/pid; error_log stderr; {user} events {{}}
         http {{ access_log off; {temporary} server {{ listen unix:{{dir}}/front; location / {{ proxy_pass http://unix:{{dir}}/back:/; }} }} }}"
    );
    let config = folder.write("nginx.conf", &config);
    let back = backend(&folder);
    let run = under_init(flags, [nginx.as_os_str(), "-e".as_ref(), "stderr".as_ref(), "-c".as_ref(), config.as_os_str()]);
    let run = run.spawn().unwrap();
    let request = SlowRequest::start(&run, &back, connect(&run, &folder.path().join("front")));
    let ended = stop(&run, signal, || {
        is_draining(&run, "nginx", 1);
        request.finish();
    });
    assert_eq!(ended.code(), Some(0), "{}", run.output());
    Ok(())
}

/// Waits until all but so many children of main have gone: the idle workers leave, the one with the request stays.
fn is_draining(run: &Running, name: &str, busy: usize) {
    eventually("the idle workers leave", SOON, || {
        (run.processes().iter().filter(|p| p.comm == name && p.inner > 2 && p.state != 'Z').count() <= busy).then_some(())
    });
}

pub(crate) fn apache_finishes_a_request() -> Outcome {
    ways("httpd", "WINCH", libc::SIGWINCH).into_iter().try_for_each(|(flags, signal)| apache(&flags, signal))
}

fn apache(flags: &str, signal: i32) -> Outcome {
    let apache = paths::need("apache2", "apache2-bin")?;
    let folder = Folder::new();
    let modules = ["mpm_event", "authz_core", "proxy", "proxy_http"];
    let modules = modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")).concat();
    let user = if is_root() { "User www-data\nGroup www-data\n" } else { "" };
    // Apache has no Unix sockets to listen at. Each test program has a loopback address of its own, so that a port that was free
    // a moment ago is so still, and nobody else's server answers in its place.
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 1 + a, b, c);
    let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    let config = format!(
        "ServerRoot {{dir}}\nServerName localhost\nListen {address}:{port}\nPidFile {{dir}}/pid\nErrorLog /dev/stderr\nDefaultRuntimeDir {{dir}}\n\
         {modules}{user}StartServers 1\nProxyPass / unix:{{dir}}/back|http://localhost/\n"
    );
    let config = folder.write("apache.conf", &config);
    let back = backend(&folder);
    let words = [apache.as_os_str(), "-DFOREGROUND".as_ref(), "-f".as_ref(), config.as_os_str()];
    let run = under_init(flags, words).spawn().unwrap();
    let stream = eventually("it answers", SOON, || TcpStream::connect((address, port)).ok());
    let request = SlowRequest::start(&run, &back, stream);
    let ended = stop(&run, signal, || {
        // No new connections are taken while it drains.
        eventually("it drains", SOON, || TcpStream::connect((address, port)).err());
        request.finish();
    });
    assert_eq!(ended.code(), Some(0), "{}", run.output());
    Ok(())
}

const SLOW_APP: &str = "
import socket
def app(environ, start_response):
    if environ['PATH_INFO'] == '/slow':
        with socket.socket(socket.AF_UNIX) as back:
            back.connect('{dir}/back')
            back.sendall(b'GET /')
            while back.recv(4096): pass
    start_response('200 OK', [('Content-Length', '8')])
    return [b'answered']
";

fn gunicorn(behind_a_shell: bool) -> Outcome {
    let gunicorn = paths::need("gunicorn", "gunicorn")?;
    let folder = Folder::new();
    folder.write("slow.py", SLOW_APP);
    let back = backend(&folder);
    let dir = folder.path().display();
    // One worker: another might be asked while it is being born, which gunicorn's master then waits for in vain.
    let command = format!("{} --workers 1 --bind unix:{dir}/front --chdir {dir} --worker-tmp-dir {dir} slow:app", gunicorn.display());
    let sandbox = if behind_a_shell {
        under_init(GRACE, ["sh", "-c", &format!("{command}; exit $?")])
    } else {
        under_init(GRACE, command.split(' '))
    };
    let run = sandbox.env("PYTHONDONTWRITEBYTECODE", "1").env("HOME", folder.path()).spawn().unwrap();
    let request = SlowRequest::start(&run, &back, connect(&run, &folder.path().join("front")));
    let ended = stop(&run, libc::SIGTERM, || {
        run.line("Handling signal: term");
        request.finish();
    });
    assert_eq!(ended.code(), Some(if behind_a_shell { 143 } else { 0 }), "{}", run.output());
    Ok(())
}

pub(crate) fn gunicorn_finishes_a_request() -> Outcome {
    gunicorn(false)
}

pub(crate) fn gunicorn_behind_a_shell_finishes_a_request() -> Outcome {
    gunicorn(true)
}
