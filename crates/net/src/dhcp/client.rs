//! The client's side of DHCP: the state machine of RFC 2131 figure 5, without INIT-REBOOT and DECLINE.
//!
//! Pure: the caller gives the clock (time since any fixed moment) and the packets, and carries out the [`Output`]s.
//! Whenever [`Client::deadline`] has passed, the caller calls [`Client::tick`].
//!
//! Until an address is bound, packets are repeated after 1, 2, 4, 8, 16 and then every 30 seconds, each time a quarter
//! more or less by chance. RFC 2131 section 4.1 suggests to begin with 4 s; a switch port or a virtual network that
//! loses the first packet of a booting node would then cost more than the whole boot.

use super::lease::Lease;
use super::message::{Message, MessageType, Options};
use crate::link::Mac;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The wait before the first repetition.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// No repetition waits longer before an address is bound.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// REQUESTs for one offer before the client asks around again.
const REQUEST_TRIES: u32 = 4;
/// Repetitions while renewing and rebinding are at least this far apart (RFC 2131 section 4.4.5).
const SHORTEST_RENEWAL_RETRY: Duration = Duration::from_secs(60);
/// "Never", for leases without an end; a hundred years, which every clock here can add.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Where the protocol stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing asked yet.
    Init,
    /// Asked all servers, waiting for an offer.
    Selecting,
    /// Took an offer, waiting for the grant.
    Requesting(Lease),
    /// The lease stands.
    Bound(Bound),
    /// Past T1: asking the server for more time.
    Renewing(Bound),
    /// Past T2: asking any server.
    Rebinding(Bound),
}

/// A lease with the moment at which it was asked for, from which its times count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The lease.
    pub lease: Lease,
    /// When the packet was sent that led to it.
    pub since: Duration,
}

impl Bound {
    fn renewal(&self) -> Duration {
        self.since.saturating_add(self.lease.renewal)
    }

    fn rebinding(&self) -> Duration {
        self.since.saturating_add(self.lease.rebinding)
    }

    fn end(&self) -> Duration {
        self.since.saturating_add(self.lease.duration.unwrap_or(NEVER))
    }
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a packet from port 68 to port 67 of this address; 255.255.255.255 is a broadcast on the link.
    Send(Message, Ipv4Addr),
    /// Use this lease from now on; it may be the same as before with more time.
    Configure(Lease),
    /// The address may no longer be used.
    Withdraw(Loss),
}

/// Why an address may no longer be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The time is up and no server gave more.
    Expired,
    /// A server said no, in these words.
    Refused(String),
}

/// A DHCP client on one link.
#[derive(Debug, Clone)]
pub struct Client {
    mac: Mac,
    phase: Phase,
    random: Random,
    transaction: u32,
    began: Duration,
    sent: Duration,
    next: Duration,
    tries: u32,
}

impl Client {
    /// A client that begins at once. The seed makes transaction numbers and waits differ between nodes.
    pub fn new(mac: Mac, seed: u64, now: Duration) -> Self {
        let mut random = Random(seed);
        let transaction = random.next() as u32;
        Self {
            mac,
            phase: Phase::Init,
            random,
            transaction,
            began: now,
            sent: now,
            next: now,
            tries: 0,
        }
    }

    /// Where the protocol stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// When [`tick`](Self::tick) is due.
    pub fn deadline(&self) -> Duration {
        self.next
    }

    /// Questions sent without an answer since the last answer.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Asks at once whether the lease still holds, as after the cable was out: the network may be another one.
    pub fn confirm(&mut self, now: Duration) {
        if let Phase::Bound(bound) | Phase::Renewing(bound) | Phase::Rebinding(bound) = &self.phase {
            self.phase = Phase::Rebinding(bound.clone());
            self.new_exchange(now);
        }
        self.next = now;
    }

    /// Does what is due at this moment: nothing before the deadline.
    pub fn tick(&mut self, now: Duration) -> Vec<Output> {
        if now < self.next {
            return Vec::new();
        }
        match self.phase.clone() {
            Phase::Init => self.discover(now),
            Phase::Selecting => self.repeat_discover(now),
            Phase::Requesting(_) if self.tries >= REQUEST_TRIES => self.discover(now),
            Phase::Requesting(offer) => self.request(now, &offer),
            Phase::Bound(bound) => self.renew(now, bound),
            Phase::Renewing(bound) if now >= bound.rebinding() => self.rebind(now, bound),
            Phase::Renewing(bound) => self.extend(now, &bound, bound.lease.server, bound.rebinding()),
            Phase::Rebinding(bound) if now >= bound.end() => self.lose(now, Loss::Expired),
            Phase::Rebinding(bound) => self.extend(now, &bound, Ipv4Addr::BROADCAST, bound.end()),
        }
    }

    /// Takes a packet from the link; what is not an answer to this client changes nothing.
    pub fn receive(&mut self, now: Duration, message: &Message) -> Vec<Output> {
        if !message.reply || message.transaction != self.transaction || message.mac != self.mac {
            return Vec::new();
        }
        match (&self.phase, message.kind) {
            (Phase::Selecting, MessageType::Offer) => self.accept_offer(now, message),
            (Phase::Requesting(_) | Phase::Renewing(_) | Phase::Rebinding(_), MessageType::Ack) => {
                self.accept_grant(now, message)
            }
            (Phase::Requesting(offer), MessageType::Nak) if message.options.server != Some(offer.server) => Vec::new(),
            (Phase::Requesting(_), MessageType::Nak) => {
                self.start_again();
                Vec::new()
            }
            (Phase::Renewing(_) | Phase::Rebinding(_), MessageType::Nak) => {
                let text = message.options.text.clone().unwrap_or_default();
                self.lose(now, Loss::Refused(text))
            }
            _ => Vec::new(),
        }
    }

    fn accept_offer(&mut self, now: Duration, message: &Message) -> Vec<Output> {
        let Some(offer) = Lease::from_message(message) else {
            return Vec::new();
        };
        self.tries = 0;
        self.request(now, &offer)
    }

    fn accept_grant(&mut self, now: Duration, message: &Message) -> Vec<Output> {
        let Some(lease) = Lease::from_message(message) else {
            return Vec::new();
        };
        // The grant came before `now`; its times count from the question, so that the node is never the later one.
        let since = self.sent.min(now);
        let bound = Bound {
            lease: lease.clone(),
            since,
        };
        self.next = bound.renewal();
        self.tries = 0;
        self.phase = Phase::Bound(bound);
        vec![Output::Configure(lease)]
    }

    fn new_exchange(&mut self, now: Duration) {
        self.transaction = self.random.next() as u32;
        self.began = now;
        self.tries = 0;
    }

    fn discover(&mut self, now: Duration) -> Vec<Output> {
        self.new_exchange(now);
        self.phase = Phase::Selecting;
        self.repeat_discover(now)
    }

    fn repeat_discover(&mut self, now: Duration) -> Vec<Output> {
        self.schedule_retry(now);
        let message = self.message(now, MessageType::Discover, Options::default());
        vec![Output::Send(message, Ipv4Addr::BROADCAST)]
    }

    fn request(&mut self, now: Duration, offer: &Lease) -> Vec<Output> {
        self.phase = Phase::Requesting(offer.clone());
        self.schedule_retry(now);
        let options = Options {
            requested_address: Some(offer.configuration.address.address()),
            server: Some(offer.server),
            ..Options::default()
        };
        let message = self.message(now, MessageType::Request, options);
        vec![Output::Send(message, Ipv4Addr::BROADCAST)]
    }

    fn renew(&mut self, now: Duration, bound: Bound) -> Vec<Output> {
        self.new_exchange(now);
        if now >= bound.rebinding() {
            return self.rebind(now, bound);
        }
        self.phase = Phase::Renewing(bound.clone());
        self.extend(now, &bound, bound.lease.server, bound.rebinding())
    }

    fn rebind(&mut self, now: Duration, bound: Bound) -> Vec<Output> {
        if now >= bound.end() {
            return self.lose(now, Loss::Expired);
        }
        self.phase = Phase::Rebinding(bound.clone());
        self.extend(now, &bound, Ipv4Addr::BROADCAST, bound.end())
    }

    /// Asks for more time, and again after half of what remains until `limit`.
    fn extend(&mut self, now: Duration, bound: &Bound, server: Ipv4Addr, limit: Duration) -> Vec<Output> {
        let remaining = limit.saturating_sub(now);
        self.tries += 1;
        self.sent = now;
        self.next = limit.min(now + SHORTEST_RENEWAL_RETRY.max(remaining / 2));
        let mut message = self.message(now, MessageType::Request, Options::default());
        message.client_address = bound.lease.configuration.address.address();
        message.broadcast = false;
        vec![Output::Send(message, server)]
    }

    fn lose(&mut self, now: Duration, loss: Loss) -> Vec<Output> {
        let mut outputs = vec![Output::Withdraw(loss)];
        outputs.extend(self.discover(now));
        outputs
    }

    /// After a refusal: asks around again, but no sooner than the next repetition was due, lest two machines that
    /// disagree keep each other busy.
    fn start_again(&mut self) {
        self.phase = Phase::Init;
    }

    fn schedule_retry(&mut self, now: Duration) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.tries.min(16));
        self.tries += 1;
        self.sent = now;
        self.next = now + self.random.about(doubled.min(LONGEST_RETRY));
    }

    fn message(&self, now: Duration, kind: MessageType, options: Options) -> Message {
        Message {
            kind,
            reply: false,
            transaction: self.transaction,
            seconds: u16::try_from(now.saturating_sub(self.began).as_secs()).unwrap_or(u16::MAX),
            broadcast: true,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::UNSPECIFIED,
            mac: self.mac,
            options,
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to tell nodes apart, and repeatable in tests.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time between three and five quarters of this one.
    fn about(&mut self, time: Duration) -> Duration {
        let thousandths = 750 + (self.next() % 501) as u32;
        time * thousandths / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    const LEASE_SECONDS: u64 = 800;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn answer(question: &Message, kind: MessageType) -> Message {
        Message {
            kind,
            reply: true,
            your_address: Ipv4Addr::new(10, 0, 2, 15),
            options: Options {
                server: Some(SERVER),
                prefix_length: Some(24),
                lease_seconds: Some(LEASE_SECONDS as u32),
                text: Some("go away".to_owned()),
                ..Options::default()
            },
            ..question.clone()
        }
    }

    fn sent(outputs: &[Output]) -> (&Message, Ipv4Addr) {
        match outputs {
            [.., Output::Send(message, to)] => (message, *to),
            other => panic!("nothing sent: {other:?}"),
        }
    }

    /// A client that got its lease, asked for at second 0.
    fn bound() -> Client {
        let mut client = Client::new(MAC, 7, at(0));
        let discover = client.tick(at(0));
        let request = client.receive(at(0), &answer(sent(&discover).0, MessageType::Offer));
        let outputs = client.receive(at(1), &answer(sent(&request).0, MessageType::Ack));
        assert!(matches!(outputs[..], [Output::Configure(_)]));
        client
    }

    #[test]
    fn four_packets_to_an_address() {
        let mut client = Client::new(MAC, 7, at(5));
        let discover = client.tick(at(5));
        let (message, to) = sent(&discover);
        assert_eq!(
            (message.kind, to, message.broadcast),
            (MessageType::Discover, Ipv4Addr::BROADCAST, true)
        );
        let request = client.receive(at(5), &answer(message, MessageType::Offer));
        let (message, to) = sent(&request);
        assert_eq!((message.kind, to), (MessageType::Request, Ipv4Addr::BROADCAST));
        assert_eq!(message.options.server, Some(SERVER));
        assert_eq!(message.options.requested_address, Some(Ipv4Addr::new(10, 0, 2, 15)));
        let outputs = client.receive(at(6), &answer(message, MessageType::Ack));
        let [Output::Configure(lease)] = &outputs[..] else {
            panic!("{outputs:?}")
        };
        assert_eq!(lease.configuration.address.to_string(), "10.0.2.15/24");
        assert_eq!(client.deadline(), at(5 + LEASE_SECONDS / 2));
    }

    #[test]
    fn silence_is_asked_again_ever_more_slowly_up_to_the_cap() {
        let mut client = Client::new(MAC, 7, at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for expected_tries in 1..=9 {
            assert_eq!(sent(&client.tick(now)).0.kind, MessageType::Discover);
            assert_eq!(client.tries(), expected_tries);
            waits.push(client.deadline() - now);
            now = client.deadline();
        }
        for (wait, nominal) in waits.iter().zip([1, 2, 4, 8, 16, 30, 30, 30, 30]) {
            assert!(
                *wait >= at(nominal) * 3 / 4 && *wait <= at(nominal) * 5 / 4,
                "{wait:?} for {nominal} s"
            );
        }
    }

    #[test]
    fn strangers_and_stale_answers_change_nothing() {
        let mut client = Client::new(MAC, 7, at(0));
        let outputs = client.tick(at(0));
        let good = answer(sent(&outputs).0, MessageType::Offer);
        let other_transaction = Message {
            transaction: good.transaction ^ 1,
            ..good.clone()
        };
        let other_mac = Message {
            mac: [9; 6],
            ..good.clone()
        };
        let not_a_reply = Message {
            reply: false,
            ..good.clone()
        };
        let early_ack = Message {
            kind: MessageType::Ack,
            ..good.clone()
        };
        for message in [other_transaction, other_mac, not_a_reply, early_ack] {
            assert_eq!(client.receive(at(0), &message), []);
            assert_eq!(*client.phase(), Phase::Selecting);
        }
    }

    #[test]
    fn a_server_that_never_grants_is_given_up() {
        let mut client = Client::new(MAC, 7, at(0));
        let discover = client.tick(at(0));
        let offer = answer(sent(&discover).0, MessageType::Offer);
        client.receive(at(0), &offer);
        let mut requests = 1;
        loop {
            let outputs = client.tick(client.deadline());
            match sent(&outputs).0.kind {
                MessageType::Request => requests += 1,
                kind => break assert_eq!(kind, MessageType::Discover),
            }
        }
        assert_eq!(requests, REQUEST_TRIES);
    }

    #[test]
    fn refusal_while_requesting_starts_again_after_a_pause() {
        let mut client = Client::new(MAC, 7, at(0));
        let discover = client.tick(at(0));
        let request = client.receive(at(0), &answer(sent(&discover).0, MessageType::Offer));
        let nak = answer(sent(&request).0, MessageType::Nak);
        let stranger = Message {
            options: Options {
                server: Some(Ipv4Addr::new(6, 6, 6, 6)),
                ..nak.options.clone()
            },
            ..nak.clone()
        };
        assert_eq!(client.receive(at(0), &stranger), []);
        assert!(matches!(client.phase(), Phase::Requesting(_)));
        assert_eq!(client.receive(at(0), &nak), []);
        assert!(client.deadline() > at(0));
        assert_eq!(sent(&client.tick(client.deadline())).0.kind, MessageType::Discover);
    }

    #[test]
    fn renewal_asks_the_server_directly_and_moves_the_end() {
        let mut client = bound();
        assert_eq!(client.tick(at(399)), []);
        let outputs = client.tick(at(400));
        let (message, to) = sent(&outputs);
        assert_eq!((message.kind, to), (MessageType::Request, SERVER));
        assert_eq!(message.client_address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(
            (message.options.server, message.options.requested_address),
            (None, None)
        );
        let outputs = client.receive(at(401), &answer(message, MessageType::Ack));
        assert!(matches!(outputs[..], [Output::Configure(_)]));
        assert_eq!(client.deadline(), at(800));
    }

    #[test]
    fn a_silent_server_leads_through_rebinding_to_loss() {
        let mut client = bound();
        let mut log = Vec::new();
        for _ in 0..20 {
            let now = client.deadline();
            for output in client.tick(now) {
                match output {
                    Output::Send(message, to) => log.push((now.as_secs(), message.kind, to)),
                    Output::Withdraw(loss) => {
                        assert_eq!((now, loss), (at(LEASE_SECONDS), Loss::Expired));
                        let expected: Vec<u64> = log.iter().map(|entry| entry.0).collect();
                        assert_eq!(expected, [400, 550, 625, 685, 700, 760]);
                        assert!(log[..4].iter().all(|entry| entry.2 == SERVER));
                        assert!(log[4..].iter().all(|entry| entry.2 == Ipv4Addr::BROADCAST));
                        return;
                    }
                    Output::Configure(_) => panic!("nobody granted anything"),
                }
            }
        }
        panic!("the lease never ended");
    }

    #[test]
    fn refusal_of_more_time_withdraws_and_says_why() {
        let mut client = bound();
        let outputs = client.tick(at(400));
        let outputs = client.receive(at(400), &answer(sent(&outputs).0, MessageType::Nak));
        assert_eq!(outputs[0], Output::Withdraw(Loss::Refused("go away".to_owned())));
        assert_eq!(sent(&outputs).0.kind, MessageType::Discover);
    }

    #[test]
    fn a_cable_put_back_is_confirmed_at_once() {
        let mut client = bound();
        client.confirm(at(10));
        let outputs = client.tick(at(10));
        assert_eq!(sent(&outputs).1, Ipv4Addr::BROADCAST);
        assert!(matches!(client.phase(), Phase::Rebinding(_)));
    }

    #[test]
    fn waking_up_after_the_end_withdraws() {
        let mut client = bound();
        let outputs = client.tick(at(5_000));
        assert_eq!(outputs[0], Output::Withdraw(Loss::Expired));
    }

    proptest! {
        /// Whatever arrives whenever: the client goes on, always with a deadline in the future, and never keeps an
        /// address beyond its end.
        #[test]
        fn any_history(seed: u64, events in proptest::collection::vec((0u8..6, 0u64..1000), 1..60)) {
            let mut client = Client::new(MAC, seed, at(0));
            let mut now = at(0);
            let mut question = None;
            let mut end: Option<Duration> = None;
            for (kind, wait) in events {
                now = if kind == 0 { client.deadline().max(now) } else { now + at(wait) };
                let mut outputs = client.tick(now);
                let kind = match kind {
                    1 => Some(MessageType::Offer),
                    2 | 3 => Some(MessageType::Ack),
                    4 => Some(MessageType::Nak),
                    _ => None,
                };
                question = outputs.iter().rev().find_map(|output| match output {
                    Output::Send(message, _) => Some(message.clone()),
                    _ => None,
                }).or(question);
                if let (Some(kind), Some(question)) = (kind, &question) {
                    outputs.extend(client.receive(now, &answer(question, kind)));
                }
                for output in &outputs {
                    match output {
                        Output::Send(message, _) => question = Some(message.clone()),
                        Output::Configure(_) => end = Some(now + at(LEASE_SECONDS)),
                        Output::Withdraw(_) => end = None,
                    }
                }
                prop_assert!(client.deadline() >= now);
                prop_assert!(end.is_none_or(|end| now <= end));
            }
        }
    }
}
