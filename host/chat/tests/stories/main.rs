//! Stories of chats on a log that commits when it is told to and loses epochs on purpose.

#[cfg(test)]
mod again;
#[cfg(test)]
mod attaching;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod collecting;
#[cfg(test)]
mod events;
#[cfg(test)]
mod generations;
#[cfg(test)]
mod handlers;
#[cfg(test)]
mod holding;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod members;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod redacting;
#[cfg(test)]
mod shadows;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod standing;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod timers;
#[cfg(test)]
mod trimming;
#[cfg(test)]
mod twilio;
