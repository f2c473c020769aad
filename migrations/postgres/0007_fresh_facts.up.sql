-- Only for SQLite, where each commit writes every page that it has changed. Here dirty pages of `facts` wait in the server's
-- memory for its checkpoint, and new facts go straight into it.
SELECT 1;
