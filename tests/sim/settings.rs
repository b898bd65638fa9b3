//! What operators set: definitions, secrets on their way out, tokens, the pause of all sending. Only the last has to do with what is sent.

use hookwheel::engine::Input;
use hookwheel::model::{KeptSecret, Pause, PauseReason, Secret, TokenScope, WebhookNumber};
use hookwheel::store::fact::Fact;
use hookwheel::store::setting::{IssuedToken, RetiredSecret, Setting};

use crate::hallway::{Daemon, Operation};
use crate::workload::{HOUR, project};
use crate::world::World;

impl World {
    /// An operator sets something, or takes it away.
    pub(crate) fn change_setting(&mut self, daemon: &mut Daemon) {
        let now = daemon.schedule(self.now_ms);
        let webhook = WebhookNumber(u32::try_from(self.rng.between(1, 6)).expect("few webhooks"));
        let is_set = !self.rng.one_in(3);
        // While nothing is sent little happens, so it does not last.
        let setting = match self.rng.below(if daemon.mirror.sending_paused { 5 } else { 7 }) {
            0 | 1 if daemon.mirror.sending_paused => Setting::Sending(None),
            0 => Setting::Sending(Some(Pause { reason: PauseReason::Operator, since: now, by: "somebody".into() })),
            1 | 2 => {
                let text = format!("{{\"title\":\"{}\"}}", "x".repeat(self.rng.index(300)));
                Setting::Definition { webhook, text: is_set.then_some(text) }
            }
            3 | 4 => {
                let secret = Secret::from_bytes(vec![u8::try_from(self.rng.below(256)).expect("a byte"); 32]).expect("32 bytes are enough");
                Setting::RetiredSecret {
                    webhook,
                    secret: is_set.then_some(RetiredSecret { secret: KeptSecret::Open(secret), until: now.plus_ms(HOUR) }),
                }
            }
            _ => {
                let scope = if self.rng.one_in(2) { TokenScope::AllProjects } else { TokenScope::Projects(vec![project(&mut self.rng)]) };
                let token = IssuedToken { sha256: [3; 32], scope, since: now, by: "somebody".into() };
                Setting::Token { name: format!("token {}", self.rng.below(3)), token: is_set.then_some(token) }
            }
        };
        self.note("a setting is changed", &[("key", setting.key()[1].into()), ("set", setting.is_set().into())]);
        daemon.operate(vec![Fact::Setting(setting.clone())], Operation::Set(setting), self.now_ms);
    }

    /// A setting is durable; now it takes effect.
    pub(crate) fn set(daemon: &mut Daemon, setting: &Setting, at_ms: u64) {
        if let Setting::Sending(pause) = setting {
            daemon.tell(Input::SendingPaused(pause.is_some()), at_ms);
        }
    }
}
