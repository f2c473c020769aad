//! `users`: whose vendors' accounts are, told to a running bridge.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::bridge::{Bridge, escaped};
use super::{Failure, print_line, read_settings};
use crate::settings::Sources;

/// Accounts asked for at once.
const PAGE: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(super) enum UsersCommand {
    /// Say whose a vendor's account is, and give the bridge its tokens. For healthkit it makes a key for that user alone.
    Link(LinkArguments),
    /// List the accounts that must be connected again: their vendor takes their tokens no more.
    Reconnect,
}

#[derive(Debug, Args)]
pub(super) struct LinkArguments {
    /// As in the webhook's path: oura, whoop, healthkit …
    vendor: String,
    /// The vendor's own id of the person; any name for healthkit.
    vendor_user_id: String,
    /// Our id.
    user_id: String,
    /// The user's time zone, as Europe/Berlin.
    #[arg(long)]
    timezone: Option<String>,
    /// A file with the access token. Tokens do not go on the command line, where others see them.
    #[arg(long, value_name = "FILE")]
    access_token_file: Option<PathBuf>,
    /// A file with the refresh token.
    #[arg(long, value_name = "FILE", requires = "access_token_file")]
    refresh_token_file: Option<PathBuf>,
    /// When the access token ends, as 2026-09-10T12:00:00Z.
    #[arg(long, value_name = "TIME", requires = "access_token_file")]
    expires_at: Option<String>,
    /// Make another key in place of the one that is bound to the user.
    #[arg(long)]
    rotate: bool,
}

pub(super) fn run(command: &UsersCommand, json: bool) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    actix_rt::System::new().block_on(async {
        let bridge = Bridge::new(&settings, PATIENCE)?;
        match command {
            UsersCommand::Link(arguments) => link(&bridge, arguments, json).await?,
            UsersCommand::Reconnect => reconnect(&bridge, json).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn link(bridge: &Bridge, arguments: &LinkArguments, json: bool) -> Result<(), Failure> {
    let LinkArguments { vendor, vendor_user_id, user_id, timezone, expires_at, rotate, .. } = arguments;
    let mut body = Map::new();
    body.insert("user_id".to_owned(), user_id.as_str().into());
    let texts = [("timezone", timezone), ("expires_at", expires_at)];
    for (name, text) in texts {
        body.extend(text.as_deref().map(|text| (name.to_owned(), text.into())));
    }
    let files =
        [("access_token", &arguments.access_token_file), ("refresh_token", &arguments.refresh_token_file)];
    for (name, file) in files {
        let Some(file) = file else { continue };
        body.insert(name.to_owned(), read_token(file)?.trim().into());
    }
    if *rotate {
        body.insert("rotate".to_owned(), true.into());
    }
    let path = format!("/admin/links/{}/{}", escaped(vendor), escaped(vendor_user_id));
    let answer = bridge.put(&path, &body.into()).await?;
    if json {
        return print_line(answer);
    }
    print_line(format_args!("{vendor}'s {vendor_user_id} is {user_id}'s"))?;
    match &answer["key"] {
        Value::String(key) => print_line(format_args!("its key, which is not shown again: {key}")),
        Value::Null if vendor == "healthkit" => {
            print_line("it keeps the key that it has: --rotate makes another")
        }
        _ => Ok(()),
    }
}

fn read_token(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    // A word about the file, and none about what is in it.
    text.map_err(|error| Failure {
        messages: vec![format!("{} cannot be read: {}", file.display(), error.kind())],
        code: 2,
    })
}

async fn reconnect(bridge: &Bridge, json: bool) -> Result<(), Failure> {
    let mut links: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let after =
            cursor.as_deref().map_or_else(String::new, |cursor| format!("&cursor={}", escaped(cursor)));
        let path = format!("/admin/links?state=needs_reconnection&limit={PAGE}{after}");
        let mut page = bridge.get(&path).await?;
        let Some(list) = page["links"].as_array_mut() else {
            return Err(Failure::failed("what answers there is not a bridge of this version"));
        };
        links.append(list);
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    if json {
        return print_line(json!({ "links": links }));
    }
    if links.is_empty() {
        return print_line("no account must be connected again");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["vendor", "vendor's user id", "user id"]);
    for link in &links {
        table.add_row(["vendor", "vendor_user_id", "user_id"].map(|name| link[name].as_str().unwrap_or("")));
    }
    print_line(table)
}
