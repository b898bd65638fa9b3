//! The Black Lists as the front doors ask for them. Single look-ups never wait for the view; changes are decided by the store alone.

use tokio::sync::oneshot;

use super::house::House;
use super::wheelhouse::Message;
use crate::limits;
use crate::model::blacklist::{BlacklistPage, Entry, Imported};
use crate::model::report::BlacklistQuery;
use crate::model::{Address, Project, Remark};
use crate::server::hallway::Refusal;
use crate::store::fact::{BlacklistAction, BlacklistChange};
use crate::store::view::TableError;
use crate::time::wall_now;

/// The entry of an address, as of the last change that anybody was told of.
///
/// # Errors
/// [`Refusal`]; `NotFound` says that it is not listed.
pub(super) async fn find(house: &House, project: Project, address: Address) -> Result<Entry, Refusal> {
    let not_listed = format!("{address} is not on the Black List of {project}");
    let blacklist = house.0.blacklist.clone();
    let found = tokio::task::spawn_blocking(move || blacklist.find(&project, &address)).await;
    readable(found)?.ok_or(Refusal::NotFound { detail: not_listed })
}

/// A page of a project's Black List, in the order of addresses. It waits for the view, as every list does.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn page(house: &House, project: Project, query: BlacklistQuery) -> Result<BlacklistPage, Refusal> {
    house.barrier().await?;
    let limit = query.limit.unwrap_or(limits::PAGE_DEFAULT).clamp(1, limits::PAGE_MAX);
    let blacklist = house.0.blacklist.clone();
    readable(tokio::task::spawn_blocking(move || blacklist.page(&project, query.after.as_ref(), limit)).await)
}

/// Puts entries on a project's Black List, in slices each of which is durable before the next begins. After an error some may be listed; doing it again
/// does no harm.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn list(house: &House, project: Project, entries: Vec<Entry>) -> Result<Imported, Refusal> {
    let mut imported = Imported::default();
    for slice in entries.chunks(limits::BULK_SLICE_KEYS) {
        let action = BlacklistAction::List(slice.to_vec());
        let listed = change(house, BlacklistChange { project: project.clone(), action }).await?;
        imported.listed += listed as u64;
        imported.known += (slice.len() - listed) as u64;
    }
    Ok(imported)
}

/// Takes an address off a project's Black List.
///
/// # Errors
/// [`Refusal`]; `NotFound` when it is not listed.
pub(super) async fn remove(house: &House, project: Project, address: Address, by: Remark) -> Result<(), Refusal> {
    let action = BlacklistAction::Remove { at: wall_now(), by: by.into(), addresses: vec![address.clone()] };
    match change(house, BlacklistChange { project: project.clone(), action }).await? {
        0 => Err(Refusal::NotFound { detail: format!("{address} is not on the Black List of {project}") }),
        _ => Ok(()),
    }
}

/// Makes a change durable; how many addresses it changed something about.
async fn change(house: &House, change: BlacklistChange) -> Result<usize, Refusal> {
    let (done, waits) = oneshot::channel();
    house.operate(|permit| Message::Blacklist { change, done, permit }, waits).await
}

fn readable<T>(read: Result<Result<T, TableError>, tokio::task::JoinError>) -> Result<T, Refusal> {
    let failed = |detail: String| Refusal::Unavailable { detail };
    read.map_err(|_| failed("reading the Black List failed".into()))?.map_err(|error| failed(error.to_string()))
}
