"""What `callboard doctor` looks at. Nothing here changes anything, neither here nor on a device."""
