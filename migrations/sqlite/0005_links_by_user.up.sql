-- Which accounts are a user's? A notification that names our user asks it.
CREATE INDEX account_links_by_user ON account_links (user_id);
