import { OpenFeature } from '@openfeature/server-sdk';
import { FlagdProvider } from '@openfeature/flagd-provider';

await OpenFeature.setProviderAndWait(new FlagdProvider()); // localhost:8013, or FLAGD_HOST and FLAGD_PORT
const client = OpenFeature.getClient();

const user = { targetingKey: 'user-1', email: 'ada@example.com' };
console.log('sliceB_documents:', await client.getBooleanValue('sliceB_documents', false, user));
await OpenFeature.close();
