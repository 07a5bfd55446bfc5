//! HTTP in: endpoints, problems, the chat page.
