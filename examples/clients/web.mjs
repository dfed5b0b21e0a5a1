import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

await OpenFeature.setContext({ targetingKey: 'user-1', email: 'ada@example.com' });
await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl: 'http://localhost:8013' }));
const client = OpenFeature.getClient();

const show = () => console.log('sliceB_documents:', client.getBooleanValue('sliceB_documents', false));
client.addHandler(ProviderEvents.ConfigurationChanged, show); // an edit or a kill arrives by itself
show();
