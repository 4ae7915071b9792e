"""Every text that a page shows, a module for each page: to be read, corrected and translated."""
