DROP TABLE user_oauth_tokens;
DROP TABLE account_links;
