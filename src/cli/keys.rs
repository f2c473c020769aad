//! `keys rotate`: seals stored tokens with the first of `TOKEN_ENCRYPTION_KEYS`.

use std::process::ExitCode;

use clap::Subcommand;
use indicatif::ProgressBar;
use serde_json::json;

use super::{Failure, print_line, read_settings};
use crate::app::{RotateError, Rotation, rotate_keys};
use crate::settings::Sources;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Encrypt all stored tokens anew with the first key, so that the others can be removed. Can be broken off and run
    /// again; not beside a bridge on the embedded store.
    Rotate,
}

pub(super) fn run(command: &KeysCommand, json: bool) -> Result<ExitCode, Failure> {
    let KeysCommand::Rotate = command;
    let settings = read_settings(Sources::from_process())?;
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::no_length() };
    let rotate = rotate_keys(&settings, |so_far| {
        bar.set_length(so_far.found);
        bar.set_position(so_far.rotated + so_far.unopened.values().sum::<u64>());
    });
    let rotation = actix_rt::System::new().block_on(rotate)?;
    bar.finish_and_clear();
    tell(&rotation, json)?;
    Ok(if rotation.left == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn tell(rotation: &Rotation, json: bool) -> Result<(), Failure> {
    if json {
        return print_line(json!(rotation));
    }
    let Rotation { key_id, found, rotated, unopened, left } = rotation;
    print_line(format_args!("{rotated} of {found} accounts' tokens encrypted anew, with the key {key_id}"))?;
    for (key_id, count) in unopened {
        print_line(format_args!(
            "{count} cannot be decrypted: is {key_id} in TOKEN_ENCRYPTION_KEYS as it was?"
        ))?;
    }
    match left {
        0 => print_line("no other key is in use"),
        left => print_line(format_args!(
            "{left} are encrypted with other keys still: keep those, and run this again"
        )),
    }
}

impl From<RotateError> for Failure {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Start(error) => error.into(),
            RotateError::Vault(error) => Self { messages: vec![error.to_string()], code: 2 },
        }
    }
}
