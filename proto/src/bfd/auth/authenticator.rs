//! Signing what is sent, judging what comes, and changing keys in between.
//!
//! ```text
//!   key A ──► another configuration ──► A is sent, A and B are believed ──► B was heard ──► key B
//!                                       (every 16th packet carries B)
//! ```
//!
//! Two sides never change their keys in the same moment. So we go on with the key that the peer was last heard with, until
//! it is heard with the new one. A peer that waits for us in the same way finds the new key in the packets that offer it.
//!
//! A peer that does not wait, as routers do not, disbelieves us from its change until it has heard us with the new key: its
//! next packet must reach us, and our next one it. The last packet that it believed may be one interval of ours old, so it
//! hears nothing for up to its interval and two of ours, and takes that for silence after multiplier × ours. So the session
//! stays up where its interval is at most (multiplier − 2) times ours: from multiplier 3 on where both are equal. (A change
//! right behind a packet that offers the new key, one of 16, may cost one interval of ours more.)

use super::super::packet::Packet;
use super::{AuthError, Authentication, Bytes, Key, Method, Section};

/// One packet of so many offers the key that the peer has not used yet. Fewer would make the change slow; more would make the
/// loss of a real packet count, as a peer that does not know the key misses this one.
const OFFER: u8 = 16;

/// The authentication of one session: signs what is sent, judges what comes.
#[derive(Clone, Debug)]
pub(in super::super) struct Authenticator {
    config: Authentication,
    /// What the peer goes by, while that is something else.
    pub(super) former: Option<Authentication>,
    /// Packets since the key changed, round and round.
    turn: u8,
    /// The peer was heard and believed, and has not been silent for long since.
    heard: bool,
    /// `bfd.XmitAuthSeq`
    pub(super) sending: u32,
    /// `bfd.RcvAuthSeq`, while it is known.
    received: Option<u32>,
    last_sent: Option<Packet>,
}

impl Authenticator {
    /// `first` is a random sequence number to begin with.
    pub(in super::super) const fn new(config: Authentication, first: u32) -> Self {
        Self {
            config,
            former: None,
            turn: 0,
            heard: false,
            sending: first,
            received: None,
            last_sent: None,
        }
    }

    /// With other keys. The sequence numbers go on: the peer refuses what does not follow the last one.
    pub(in super::super) fn rekeyed(self, config: Authentication) -> Self {
        if self.config == config {
            return self;
        }
        let used = self.former.or_else(|| self.heard.then_some(self.config));
        Self {
            former: used.filter(|used| *used != config),
            turn: 0,
            config,
            ..self
        }
    }

    /// Long enough without a packet, the peer may begin anew (RFC 5880 §6.8.1, `bfd.AuthSeqKnown`), and with the key that is
    /// configured only.
    pub(in super::super) fn forget(&mut self) {
        self.received = None;
        self.former = None;
        self.heard = false;
    }

    /// Whether the peer goes by a key that is configured no more.
    pub(in super::super) const fn awaits_new_key(&self) -> bool {
        self.former.is_some()
    }

    pub(in super::super) fn sign(&mut self, packet: &mut Packet) {
        let offers = self.turn == 0;
        self.turn = (self.turn + 1) % OFFER;
        let former = self.former.as_ref().filter(|_| !offers);
        let Authentication {
            method,
            sending: Key { id, secret },
            ..
        } = *former.unwrap_or(&self.config);
        if method.is_meticulous() || self.last_sent != Some(*packet) {
            self.sending = self.sending.wrapping_add(1);
        }
        self.last_sent = Some(*packet);
        let mut section = Section {
            method,
            key_id: id,
            reserved: 0,
            sequence: self.sending,
            proof: secret,
        };
        if method != Method::SimplePassword {
            section.proof = digest(packet, section, secret);
        }
        packet.auth = Some(section);
    }

    /// Judges a packet; nothing is remembered of one that is refused. (The RFC lets the first sequence number count
    /// before its digest was checked, which would let anyone shut the peer out.)
    pub(in super::super) fn check(&mut self, packet: &Packet) -> Result<(), AuthError> {
        let section = packet.auth.ok_or(AuthError::Missing)?;
        match (
            self.config.judge(packet, section, self.received),
            &self.former,
        ) {
            (Ok(()), _) => self.former = None,
            (Err(error), Some(former)) => {
                let verdict = former.judge(packet, section, self.received);
                verdict.map_err(|_| error)?;
            }
            (Err(error), None) => return Err(error),
        }
        self.heard = true;
        if section.method != Method::SimplePassword {
            self.received = Some(section.sequence);
        }
        Ok(())
    }
}

impl Authentication {
    /// Whether a packet is the peer's; `last` is the sequence number of the one before.
    fn judge(&self, packet: &Packet, section: Section, last: Option<u32>) -> Result<(), AuthError> {
        if section.method != self.method {
            return Err(AuthError::Method(section.method));
        }
        let keys = self.accepted.iter();
        let mut keys = keys.filter(|key| key.id == section.key_id).peekable();
        if keys.peek().is_none() {
            return Err(AuthError::Key(section.key_id));
        }
        if self.method != Method::SimplePassword {
            self.check_sequence(packet, section.sequence, last)?;
        }
        let known = keys.any(|key| digest(packet, section, key.secret) == section.proof);
        known.then_some(()).ok_or(AuthError::Proof)
    }

    /// The window of RFC 5880 §6.7.3 and §6.7.4, on a circle.
    fn check_sequence(
        &self,
        packet: &Packet,
        got: u32,
        last: Option<u32>,
    ) -> Result<(), AuthError> {
        let Some(last) = last else {
            return Ok(());
        };
        let window = 3 * u32::from(packet.detect_multiplier.get());
        let ahead = got.wrapping_sub(last);
        let first = u32::from(self.method.is_meticulous());
        if (first..=window).contains(&ahead) {
            Ok(())
        } else {
            Err(AuthError::Sequence { last, got, window })
        }
    }
}

/// What must stand in the section: the digest of the packet with the key, or the password itself.
fn digest(packet: &Packet, section: Section, secret: Bytes) -> Bytes {
    let length = section.method.digest_length();
    let keyed = Packet {
        auth: Some(Section {
            proof: secret.resized(length),
            ..section
        }),
        ..*packet
    };
    let mut bytes = Vec::with_capacity(52);
    keyed.encode(&mut bytes);
    let digest = match section.method {
        Method::SimplePassword => return secret,
        Method::KeyedMd5 | Method::MeticulousMd5 => Bytes::new(&md5::compute(&bytes).0),
        Method::KeyedSha1 | Method::MeticulousSha1 => {
            Bytes::new(&sha1_smol::Sha1::from(&bytes).digest().bytes())
        }
    };
    digest.unwrap_or_default()
}
