DROP INDEX account_links_by_user;
