//! Rebase behind a network on which every request takes 20 ms.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::measure::run;
use super::{Bench, Contender};

const LATENCY: Duration = Duration::from_millis(20);

impl Bench {
    pub(super) fn rebase(&mut self, round: usize, contender: &Contender) {
        let who = contender.name;
        let slow = slowed_down(&self.registry.address);
        let image = format!("{slow}/a-{who}-{round}");
        let new_run_image = format!("{slow}/run:new");
        self.registry.push_run_image("run:new", "new");
        let args = ["-force", "-run-image", &new_run_image, &image].map(str::to_owned);
        let cost = run(&contender.bin.join("rebaser"), &args, &[], &self.registry);
        self.note("rebase, 20 ms per request", who, cost);
    }
}

/// The address of a registry whose requests arrive late. It serves as long as the process lives.
fn slowed_down(registry: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("address").to_string();
    let registry = registry.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&registry) else { continue };
            let (Ok(from), Ok(to)) = (server.try_clone(), client.try_clone()) else { continue };
            std::thread::spawn(move || pass_on(client, server, LATENCY));
            std::thread::spawn(move || pass_on(from, to, Duration::ZERO));
        }
    });
    address
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n) = from.read(&mut buffer) {
        std::thread::sleep(delay);
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
