//! What the commands about webhooks take. It never carries anything out, and leaves it to the daemon to say which values are possible.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::sandbox::milliseconds;
use crate::model::{EventTypeName, Signing, WebhookId};

/// What can be done with webhooks.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Webhooks {
    /// List every webhook with what waits for it
    #[command(after_help = "Example:\n  hookwheel webhooks list --json")]
    List,
    /// Show one webhook, whole; a secret that hookwheel made is shown the first time only
    #[command(after_help = "Example:\n  hookwheel webhooks show crm")]
    Show(WebhookArgument),
    /// Add a webhook without touching the file; its secret is shown once
    ///
    /// On a terminal it asks for what is missing. What stands in webhooks.toml is not touched, and an id is never used for something else.
    Add(Box<Add>),
    /// Change a webhook that was added; one that stands in the file is edited there
    Edit(Box<Edit>),
    /// Remove a webhook for good; its pending deliveries are cancelled
    #[command(after_help = "Examples:\n  hookwheel webhooks remove crm\n  hookwheel webhooks remove crm --yes")]
    Remove(Remove),
    /// Stop sending to a webhook; its deliveries go on queueing
    #[command(after_help = "Example:\n  hookwheel webhooks pause crm")]
    Pause(WebhookArgument),
    /// Send to a webhook again
    #[command(after_help = "Example:\n  hookwheel webhooks resume crm")]
    Resume(WebhookArgument),
    /// Send a sample event to a webhook at once and show the whole exchange; nothing is queued or recorded
    #[command(after_help = "Examples:\n  hookwheel webhooks test crm\n  hookwheel webhooks test crm --type email.status.bounced")]
    Test(Test),
    /// Give a webhook a new secret; the old one signs, too, for a while
    ///
    /// The new one is of the same kind; `hookwheel webhooks edit ID --signing v1a` changes the kind, with a day in which both sign.
    #[command(
        after_help = "Examples:\n  hookwheel webhooks rotate-secret crm\n  hookwheel webhooks rotate-secret crm --grace 0s    the old one is known to others"
    )]
    RotateSecret(RotateSecret),
    /// Print webhooks as they would stand in webhooks.toml: those that were added, or those that are named
    #[command(after_help = "Examples:\n  hookwheel webhooks export >> webhooks.toml\n  hookwheel webhooks export crm --with-secrets")]
    Export(Export),
}

/// A webhook, named.
#[derive(Debug, Args)]
pub(in crate::cli) struct WebhookArgument {
    /// The webhook's id, as `hookwheel webhooks list` shows it
    #[arg(value_name = "ID", value_parser = WebhookId::parse)]
    pub(in crate::cli) id: WebhookId,
}

/// What a webhook is.
#[derive(Debug, Default, Args)]
pub(super) struct Definition {
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    pub(super) title: Option<String>,
    /// The project whose events it gets, a domain; `hookwheel` for what the daemon tells about itself
    #[arg(long, short, value_name = "DOMAIN")]
    pub(super) project: Option<String>,
    /// Where its events go
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// What it wants, separated by commas: * is all, email.* all of a channel, or event types
    #[arg(long, value_name = "E,E…", value_delimiter = ',')]
    pub(super) events: Vec<String>,
    /// A header that is sent with every attempt; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub(super) headers: Vec<(String, String)>,
    /// A network that may be dialled although it is private; may be repeated
    #[arg(long = "allow-network", value_name = "NETWORK")]
    pub(super) allow_networks: Vec<String>,
    /// Certificates (PEM) of authorities to trust besides the system's; the daemon reads the file
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// The certificate (PEM) to show to a receiver that asks for one; the daemon reads the file
    #[arg(long, value_name = "FILE")]
    pub(super) client_certificate_file: Option<PathBuf>,
    /// That one's private key (PEM); the daemon reads the file
    #[arg(long, value_name = "FILE")]
    pub(super) client_key_file: Option<PathBuf>,
    /// The time of one attempt, such as 10s
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<String>,
    /// Which statuses are success, separated by commas, such as 200,204 or 2xx
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',')]
    pub(super) success: Vec<String>,
    /// When a failed delivery is tried again, such as 3x100s,6x600s,6x3600s
    #[arg(long, value_name = "STEP,…", value_delimiter = ',', value_parser = step)]
    pub(super) retry: Vec<(u32, String)>,
    /// Attempts at once
    #[arg(long, value_name = "N")]
    pub(super) max_in_flight: Option<u32>,
    /// Attempts in a time, such as 50/s
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<String>,
    /// One after the other, first accepted first
    #[arg(long)]
    pub(super) ordered: bool,
    /// How its requests are signed: v1 (HMAC-SHA256, a secret that both sides have) or v1a (ed25519, the receiver gets a public key) [default: v1]
    #[arg(long, value_name = "KIND", value_parser = Signing::parse)]
    pub(super) signing: Option<Signing>,
    /// The file with its secret (whsec_…, or whsk_… for v1a), - for standard input [default: hookwheel makes one]
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
}

/// What is added.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel webhooks add                             asks for everything
  hookwheel webhooks add --id crm --title CRM --project shop.example.com --url https://crm.example.com/hooks --events email.*,sms.status.delivered
  hookwheel webhooks add --title Intranet --project shop.example.com --url http://10.1.2.3/ --events * --allow-network 10.1.2.0/24
  hookwheel webhooks add --title Bank --project shop.example.com --url https://bank.example.com/ --events * --client-certificate-file /etc/hookwheel/bank.pem --client-key-file /etc/hookwheel/bank.key")]
pub(in crate::cli) struct Add {
    /// Its id, 1 to 64 of a-z 0-9 - [default: made of its title]
    #[arg(long, value_name = "ID", value_parser = WebhookId::parse)]
    pub(super) id: Option<WebhookId>,
    #[command(flatten)]
    pub(super) definition: Definition,
    /// Send nothing yet
    #[arg(long)]
    pub(super) paused: bool,
}

/// What is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel webhooks edit crm --url https://crm.example.com/new
  hookwheel webhooks edit crm --events email.* --unset rate
  hookwheel webhooks edit crm --signing v1a          a new key; the old secret signs, too, for a day")]
pub(in crate::cli) struct Edit {
    #[command(flatten)]
    pub(super) webhook: WebhookArgument,
    #[command(flatten)]
    pub(super) definition: Definition,
    /// A key that goes back to its default, as it is called in webhooks.toml, such as rate or headers; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(super) unset: Vec<String>,
}

/// What is removed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    #[command(flatten)]
    pub(super) webhook: WebhookArgument,
    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,
}

/// What is tried.
#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    #[command(flatten)]
    pub(super) webhook: WebhookArgument,
    /// The type of the sample event [default: the first that the webhook wants]
    #[arg(long = "type", value_name = "TYPE", value_parser = EventTypeName::parse)]
    pub(super) event_type: Option<EventTypeName>,
}

/// Whose secret is replaced.
#[derive(Debug, Args)]
pub(in crate::cli) struct RotateSecret {
    #[command(flatten)]
    pub(super) webhook: WebhookArgument,
    /// For so long the old secret signs, too; 0s ends it at once
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = milliseconds)]
    pub(super) grace: u64,
}

/// What is exported.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// These webhooks, whatever their origin [default: those that were added]
    #[arg(value_name = "ID", value_parser = WebhookId::parse)]
    pub(super) ids: Vec<WebhookId>,
    /// With their secrets, and the values of their headers
    #[arg(long)]
    pub(super) with_secrets: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as X-Tenant=42")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

fn step(text: &str) -> Result<(u32, String), String> {
    let wrong = || format!("{text:?} is no step of a schedule: expected such as 3x100s, three attempts 100 seconds apart");
    let (attempts, every) = text.split_once('x').ok_or_else(wrong)?;
    Ok((attempts.parse().map_err(|_| wrong())?, every.to_owned()))
}
